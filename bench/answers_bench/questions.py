"""Questions with the facts that a right answer states, and the packages that they are about.

A file holds one JSON object a line: ``id``, ``package``, ``version``, ``language``, ``kind``, ``question``,
``facts``, ``gold`` (``path``, ``start``, ``end``), ``answer``, and ``kept_back`` where it is to be asked only
when that is asked for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter

Facts = tuple[tuple[str, ...], ...]
"""Required facts, each as the regexes of which one must be found."""


class Kind(StrEnum):
    """What is asked for. ``ABSENT``: something that does not exist, so the one fact is a refusal."""

    LOOKUP = "lookup"
    BEHAVIOUR = "behaviour"
    FLOW = "flow"
    WHERE = "where"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Place:
    """A run of lines of a file, 1-based and inclusive."""

    path: PurePosixPath
    start: int
    end: int

    def overlaps(self, other: "Place") -> bool:
        """Return whether the two have a line in common."""
        return self.path == other.path and self.start <= other.end and other.start <= self.end


@dataclass(frozen=True, slots=True)
class Question:
    """A question; ``answer`` is one that is right, for people to compare with."""

    id: str
    package: str
    version: str
    language: str
    kind: Kind
    question: str
    facts: Facts
    gold: tuple[Place, ...]
    answer: str
    kept_back: bool = False


_QUESTION = TypeAdapter(Question)


def read_questions(files: Iterable[Path]) -> list[Question]:
    """Return the questions of all the files. Raises ``ValueError`` for an id that is there twice."""
    questions = [
        _QUESTION.validate_json(line)
        for file in files
        for line in file.read_text().splitlines()
        if line.strip()
    ]
    ids = [question.id for question in questions]
    if len(set(ids)) < len(ids):
        twice = sorted({each for each in ids if ids.count(each) > 1})
        raise ValueError(f"These ids are there twice: {', '.join(twice)}")
    return questions


def chosen(
    questions: Iterable[Question], *, prefix: str = "", limit: int | None = None, kept_back: bool = False
) -> list[Question]:
    """Return the first ``limit`` questions whose id begins so, of those kept back or of the others."""
    fitting = [each for each in questions if each.kept_back is kept_back and each.id.startswith(prefix)]
    return fitting[:limit]


def refusals(questions: Iterable[Question]) -> tuple[str, ...]:
    """Return the regexes by which the questions about absent things know a refusal."""
    patterns = (
        pattern for each in questions if each.kind is Kind.ABSENT for fact in each.facts for pattern in fact
    )
    return tuple(dict.fromkeys(patterns))


def packages_of(questions: Sequence[Question]) -> list[str]:
    """Return the packages asked about, in the order of the questions."""
    return list(dict.fromkeys(question.package for question in questions))
