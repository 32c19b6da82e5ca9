"""Finding what was said: all words, as they begin, in any case and with or without accents.

Where the words are kept is the database's own affair, and in one place here: SQLite has an index of words,
derived from the turns, changed in the transactions that change those, and made anew whenever it is not as it
should be; any other database is read through.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
)

from coding_assistant.chat.records import turn_from
from coding_assistant.chat.tables import conversations, turns
from coding_assistant.database import reading, writing
from coding_assistant.domain import FoundMessage, Role, Turn

SNIPPET_CHARACTERS: Final = 160
"""Two lines of a terminal."""

_WORDS_TABLE: Final = (
    "CREATE VIRTUAL TABLE message_words USING fts5(question, answer_text, content='',"
    " tokenize='unicode61 remove_diacritics 2')"
)
"""Without texts of its own (``content=''``): they are in ``turns``, under the same number."""

_WORDS: Final = Table(
    "message_words",
    MetaData(),  # not the tables': no migration knows what is derived
    Column("rowid", Integer),
    Column("message_words", Text),  # named as the table: FTS5 takes its commands and its queries in there
    Column("question", Text),
    Column("answer_text", Text),
)

_WORD: Final = re.compile(r"[^\W_]+")
_ACCENTS: Final = re.compile("(?<=[a-z])[\u0300-\u036f]+")  # of Latin letters alone, as FTS5 has it
_BEFORE_FIRST_CHARACTERS: Final = 40


class FindsTurns(Protocol):
    """How a database finds the answered turns that hold words; the two ways must find alike."""

    def prepare(self, connection: Connection) -> None:
        """Make what the search needs, and see that it is whole."""
        ...

    def add(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Have these turns found from now on: their answers are finished, or about to be."""
        ...

    def remove(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Have these turns found no more: they are about to be deleted."""
        ...

    def statement(self, words: Sequence[str]) -> Select[tuple[str]]:
        """Return the statement for ids of turns, the best first, joined with their conversations."""
        ...

    def erase_traces(self, connection: Connection) -> None:
        """Let no word remain of what was removed."""
        ...


class MessageSearch:
    """Searches the messages of all conversations but those in the trash."""

    def __init__(self, engine: Engine, finds: FindsTurns | None = None) -> None:
        self._engine = engine
        self._finds = finds or (IndexedWords() if engine.dialect.name == "sqlite" else ReadThrough())

    def prepare(self) -> None:
        """Make what the search needs, and see that it is whole."""
        with writing(self._engine) as connection:
            self._finds.prepare(connection)

    def add(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Have these turns found from now on: their answers are finished, or about to be."""
        self._finds.add(connection, which)

    def remove(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Have these turns found no more: they are about to be deleted."""
        self._finds.remove(connection, which)

    def erase_traces(self) -> None:
        """Let no word remain of what was removed."""
        with writing(self._engine) as connection:
            self._finds.erase_traces(connection)

    def find(self, query: str, *, limit: int) -> list[FoundMessage]:
        """Return at most ``limit`` messages, the best first and the newest of equals.

        A word of the query stands for all that begin with it. Titles that the user gave come first; others
        repeat a question. An answer is found when it is finished.
        """
        words = words_of(query)
        if not words or limit < 1:
            return []
        with reading(self._engine) as connection:
            found = _in_titles(connection, words)[:limit]
            rows = connection.execute(self._finds.statement(words).limit(limit - len(found)))
            return [*found, *_found_messages(connection, [row.id for row in rows], words)]


class IndexedWords:
    """SQLite's FTS5. It keeps the words of finished turns, which never change, and not their texts.

    Triggers would be simpler; but SQLite takes FTS5 for unsafe in a schema that it was told not to trust.
    """

    def prepare(self, connection: Connection) -> None:
        """Make the index from the turns unless it is there, just as it would be made now."""
        kept = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE name = 'message_words'"
        ).scalar()
        if kept == _WORDS_TABLE and self._counts_agree(connection):
            return
        connection.exec_driver_sql("DROP TABLE IF EXISTS message_words")
        connection.exec_driver_sql(_WORDS_TABLE)
        self.add(connection, turns.c.finish.is_not(None))

    def add(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Write the words of these turns down."""
        said = select(turns.c.serial, turns.c.question, turns.c.answer_text).where(which)
        connection.execute(insert(_WORDS).from_select(["rowid", "question", "answer_text"], said))

    def remove(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Strike out the words of these turns, which FTS5 wants to be told once more."""
        said = select(literal("delete"), turns.c.serial, turns.c.question, turns.c.answer_text).where(
            which, turns.c.finish.is_not(None)
        )
        columns = ["message_words", "rowid", "question", "answer_text"]
        connection.execute(insert(_WORDS).from_select(columns, said))

    def _counts_agree(self, connection: Connection) -> bool:
        indexed = connection.exec_driver_sql("SELECT count(*) FROM message_words_docsize").scalar()
        finished = select(func.count()).where(turns.c.finish.is_not(None))
        return bool(indexed == connection.scalar(finished))

    def statement(self, words: Sequence[str]) -> Select[tuple[str]]:
        """Return the statement; scores that differ by little count as equal."""
        all_words = " AND ".join(f'"{word}"*' for word in words)
        score = func.round(func.bm25(literal_column("message_words")), 1).label("score")
        matching = (
            select(_WORDS.c.rowid, score).where(_WORDS.c.message_words.op("MATCH")(all_words)).subquery()
        )
        return (
            select(turns.c.id)
            .join(matching, matching.c.rowid == turns.c.serial)
            .join(conversations)
            .where(conversations.c.deleted_at.is_(None))
            .order_by(matching.c.score, turns.c.serial.desc())
        )

    def erase_traces(self, connection: Connection) -> None:
        """Merge the index into one part: what is removed stays in the older ones until then."""
        connection.execute(insert(_WORDS).values(message_words="optimize"))


class ReadThrough:
    """Any other database: every message is read, and the newest come first. Accents count."""

    def prepare(self, connection: Connection) -> None:
        """Nothing is needed."""

    def add(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Nothing is kept."""

    def remove(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Nothing is kept."""

    def statement(self, words: Sequence[str]) -> Select[tuple[str]]:
        """Return the statement; a word is found inside of others, too."""
        holds_all = (
            or_(
                turns.c.question.icontains(word, autoescape=True),
                turns.c.answer_text.icontains(word, autoescape=True),
            )
            for word in words
        )
        return (
            select(turns.c.id)
            .join(conversations)
            .where(and_(*holds_all), turns.c.finish.is_not(None), conversations.c.deleted_at.is_(None))
            .order_by(turns.c.serial.desc())
        )

    def erase_traces(self, connection: Connection) -> None:
        """Nothing is kept."""


def words_of(query: str) -> list[str]:
    """Return the words of a query, or of a text, as they are compared."""
    return _WORD.findall(_folded(query))


def snippet(said: str, words: Sequence[str]) -> str:
    """Return the part of a text around the first place where most of the words are, on one line.

    An ellipsis stands where something is left out.
    """
    flat = " ".join(said.split())
    starts = [match.start() for match in _WORD.finditer(flat) if _begins(match[0], words)]
    best = max(
        starts,
        key=lambda start: (_distinct(flat[start : start + SNIPPET_CHARACTERS], words), -start),
        default=0,
    )
    begin = max(0, best - _BEFORE_FIRST_CHARACTERS)
    if begin:
        begin = flat.find(" ", begin, best) + 1 or best
    end = begin + SNIPPET_CHARACTERS
    if end < len(flat):
        end = max(flat.rfind(" ", best, end), best + 1)
    return f"{'…' if begin else ''}{flat[begin:end]}{'…' if end < len(flat) else ''}"


def _begins(word: str, words: Sequence[str]) -> bool:
    return _folded(word).startswith(tuple(words))


def _distinct(said: str, words: Sequence[str]) -> int:
    """Return how many of the words some word of the text begins with."""
    present = words_of(said)
    return sum(any(each.startswith(word) for each in present) for word in words)


def _folded(said: str) -> str:
    """Return the text as FTS5 compares it: in lower case, Latin letters without their accents."""
    decomposed = unicodedata.normalize("NFD", said.lower())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))


def _in_titles(connection: Connection, words: Sequence[str]) -> list[FoundMessage]:
    newest_first = (
        select(conversations)
        .where(conversations.c.renamed, conversations.c.deleted_at.is_(None))
        .order_by(conversations.c.activity.desc())
    )
    return [
        FoundMessage(
            conversation_id=row["id"],
            project_id=row["project_id"],
            title=row["title"],
            turn_id=None,
            role=None,
            said_at=row["updated_at"],
            snippet=snippet(row["title"], words),
        )
        for row in connection.execute(newest_first).mappings()
        if _distinct(row["title"], words) == len(words)
    ]


def _found_messages(connection: Connection, ids: Sequence[str], words: Sequence[str]) -> list[FoundMessage]:
    statement = (
        select(turns, conversations.c.title, conversations.c.project_id)
        .join(conversations)
        .where(turns.c.id.in_(ids))
    )
    rows = {row["id"]: row for row in connection.execute(statement).mappings()}
    found = []
    for turn_id in ids:
        turn = turn_from(rows[turn_id], ())
        role, said, said_at = _half(turn, words)
        found.append(
            FoundMessage(
                conversation_id=turn.conversation_id,
                project_id=rows[turn_id]["project_id"],
                title=rows[turn_id]["title"],
                turn_id=turn_id,
                role=role,
                said_at=said_at,
                snippet=snippet(said, words),
            )
        )
    return found


def _half(turn: Turn, words: Sequence[str]) -> tuple[Role, str, datetime]:
    """Return the half of the turn that holds more of the words."""
    answer = turn.answer
    if answer is not None and _distinct(answer.text, words) > _distinct(turn.question, words):
        return Role.ASSISTANT, answer.text, answer.finished_at
    return Role.USER, turn.question, turn.asked_at
