"""What to search for when a question leans on the conversation before it.

"And who calls it?" finds nothing by itself. The names that the last answer cited say what "it" is; no
model is asked to rewrite the question, which would cost seconds and the conversation's cache.
"""

import re
from collections.abc import Sequence

from coding_assistant.domain import Turn

LEANING = re.compile(
    r"^\s*(and|but|so|then|also|or|what about|how about|why)\b"
    r"|\b(it|its|that|this|these|those|they|them|their|there|he|she|same|above|previous|earlier|former|latter)\b",
    re.IGNORECASE,
)
"""Words by which a question points back. "This project" points at nothing said before, but then the
added names only accompany words that lead."""

NAME = re.compile(r"`[^`]+`|\w+[_.]\w+|\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*|[\w/]+\.\w{1,4}\b")
"""What names code by itself: back-quoted, snake_case, dotted, camelCase, CapWords, a file's name."""

SHORT_WORDS = 4
"""A question of at most this many words that names no code is taken to lean on what was said."""

MOST_NAMES = 6


def search_text(question: str, past: Sequence[Turn]) -> str:
    """Return the text to search with: the question, and where it leans back, what was cited before."""
    if not past or not leans_back(question):
        return question
    last = past[-1]
    return " ".join((question, *_cited_names(last), last.question))


def leans_back(question: str) -> bool:
    """Return whether the question can hardly be understood without the turn before it."""
    if LEANING.search(question):
        return True
    return len(question.split()) <= SHORT_WORDS and not NAME.search(question)


def _cited_names(turn: Turn) -> list[str]:
    citations = turn.answer.citations if turn.answer else ()
    chunks = [citation.source.chunk for citation in citations] or [
        source.chunk for source in turn.sources[:2]
    ]
    names = [chunk.symbol or chunk.path.stem for chunk in chunks]
    return list(dict.fromkeys(names))[:MOST_NAMES]
