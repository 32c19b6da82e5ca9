"""Whether words and names occur in a project at all: what nobody can have read there, nobody can tell of it.

It knows the terms and the chunks, and works on a connection that it is lent.
"""

import re
import sqlite3
from collections.abc import Iterable

from coding_assistant.terms import joined_name

_NO_WORD = re.compile(r"\W+")

MOST_LOOKED_INTO = 500
"""Chunks that are looked into for a name as it is written. Where more than these hold its term, it is a name
that the project has: all 500 would have to spell it in another way."""

_TERM_OCCURS = "SELECT EXISTS (SELECT 1 FROM terms WHERE terms MATCH ?)"
# A term stands for all spellings and endings of a name: max_age, maxAge, MAX_AGES. Chunks tell them apart.
_CHUNKS_OF_TERM = """
SELECT text, path FROM (SELECT rowid AS id FROM terms WHERE terms MATCH ? LIMIT ?)
JOIN chunks USING (id) JOIN files ON files.id = file_id
"""


def absent_words(connection: sqlite3.Connection, words: Iterable[str]) -> frozenset[str]:
    """Return the words that stand in no file and in no path, in whatever form or case, alone or in a name."""
    return frozenset(word for word in words if not _occurs(connection, word))


def absent_names(connection: sqlite3.Connection, names: Iterable[str]) -> frozenset[str]:
    """Return the names that stand in no file and in no path as they are written."""
    return frozenset(name for name in names if not _is_written(connection, name))


def _occurs(connection: sqlite3.Connection, word: str) -> bool:
    term = _term(word)
    if not term:
        return True
    ((occurs,),) = connection.execute(_TERM_OCCURS, (f'"{term}"',))
    return bool(occurs)


def _is_written(connection: sqlite3.Connection, name: str) -> bool:
    term = _term(name)
    if not term:
        return True
    whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    looked_into = 0
    for text, path in connection.execute(_CHUNKS_OF_TERM, (f'"{term}"', MOST_LOOKED_INTO)):
        looked_into += 1
        if whole.search(text) or whole.search(path):
            return True
    return looked_into == MOST_LOOKED_INTO


def _term(name: str) -> str:
    """Return the one term under which a name is indexed whole; nothing else could stand in a query."""
    return joined_name(_NO_WORD.sub("", name))
