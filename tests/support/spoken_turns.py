"""Turns, sources and summaries for tests of what becomes a prompt."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

from coding_assistant.domain import Answer, Chunk, Finish, Hit, Source, Summary, SummaryOrigin, Turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def hit(path: str, text: str = "one\ntwo", *, start: int = 1) -> Hit:
    return Hit(Chunk(PurePosixPath(path), start, start + text.count("\n"), text), 1.0)


def source(number: int, path: str = "a.py", text: str = "one\ntwo", *, start: int = 1) -> Source:
    chunk = hit(path, text, start=start).chunk
    return Source(number, chunk, chunk.digest)


def answer(text: str, *, tokens: Sequence[int] = (), vocabulary: str = "") -> Answer:
    return Answer(text, Finish.COMPLETE, "model", NOW, tokens=tuple(tokens), vocabulary=vocabulary)


def turn(
    number: int,
    *,
    question: str = "why?",
    said: str | Answer | None = "so",
    sources: Sequence[Source] = (),
) -> Turn:
    given = answer(said) if isinstance(said, str) else said
    return Turn(f"{number:032x}", "c" * 32, number, question, NOW, tuple(sources), given)


def summary(last_turn: int, text: str = "- It was about ports.") -> Summary:
    return Summary(last_turn, text, SummaryOrigin.EXTRACT, NOW)
