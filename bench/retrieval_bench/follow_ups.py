"""Follow-up questions: what is searched for when a question leans on a conversation.

One JSON object a line: ``id``, ``package``, ``version``, ``language``, ``kind``, ``turns`` (each with its
``question`` and what its answer ``cited``: ``path``, ``start``, ``end``), then the ``question`` that is asked
now and its ``gold`` lines. All that the benchmark knows of the product's conversations is in this module.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from coding_assistant.chat.query import in_conversation
from coding_assistant.domain import (
    Answer,
    Chunk,
    Citation,
    CitationState,
    Finish,
    FoundFile,
    Source,
    SourceFile,
    Turn,
)
from coding_assistant.project.chunk import chunk
from coding_assistant.project.walk import find, open_root, read
from retrieval_bench.questions import Gold, Question, gold_lines, json_lines

_NOW = datetime(2024, 1, 1, tzinfo=UTC)  # no ranking looks at the time of a turn


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A question that was answered, and the lines that its answer cited."""

    question: str
    cited: tuple[Gold, ...]


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A question with the conversation before it."""

    question: Question
    past: tuple[PastTurn, ...]


def read_follow_ups(files: Iterable[Path]) -> list[FollowUp]:
    """Read follow-ups of the format above."""
    return [_follow_up(entry) for file in files for entry in json_lines(file)]


def _follow_up(entry: Mapping[str, Any]) -> FollowUp:
    question = Question(
        id=entry["id"],
        corpus=entry["package"],
        text=entry["question"],
        category=entry.get("kind", "follow-up"),
        gold=tuple(gold_lines(entry["gold"])),
        lines_hold=True,
    )
    past = tuple(PastTurn(turn["question"], tuple(gold_lines(turn["cited"]))) for turn in entry["turns"])
    return FollowUp(question, past)


def as_product_asks(follow_up: FollowUp, project: Path) -> Question:
    """Return the question with the text that the product searches with in that conversation."""
    turns = [_turn(number, past, project) for number, past in enumerate(follow_up.past, start=1)]
    text = in_conversation(follow_up.question.text, turns)
    return replace(follow_up.question, text=text.question, context=text.context)


def _turn(number: int, past: PastTurn, project: Path) -> Turn:
    sources = tuple(
        Source(place, piece, piece.digest)
        for place, piece in enumerate((_cited_chunk(project, cited) for cited in past.cited), start=1)
    )
    citations = tuple(
        Citation(source, source.chunk.start_line, source.chunk.end_line, CitationState.VERIFIED)
        for source in sources
    )
    answer = Answer("", Finish.COMPLETE, "", _NOW, citations)
    return Turn(f"turn-{number}", "conversation", number, past.question, _NOW, sources, answer)


def _cited_chunk(project: Path, cited: Gold) -> Chunk:
    """Return the chunk that shows most of the cited lines, as the conversation would have cited it."""
    return max(_chunks(project, cited.path), key=lambda piece: _shared_lines(piece, cited))


def _chunks(project: Path, path: PurePosixPath) -> Sequence[Chunk]:
    root = open_root(project)
    found = find(root, path)
    file = read(root, found) if isinstance(found, FoundFile) else None
    if not isinstance(file, SourceFile):
        raise FileNotFoundError(f"a follow-up cites {path}, which the project does not hold")
    return chunk(file)


def _shared_lines(piece: Chunk, cited: Gold) -> int:
    return min(piece.end_line, cited.end_line) - max(piece.start_line, cited.start_line)
