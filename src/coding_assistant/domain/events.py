"""The events of one answer, from the kept question to the kept answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from coding_assistant.domain.conversations import Citation, Source, Summary, Turn
from coding_assistant.domain.models import EngineInfo


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """The question is on disk; the answer will have these ids."""

    session_id: str
    turn: Turn
    model: str


class Indexed(StrEnum):
    """What an update of the index counts: changed files first, then chunks that get their vectors."""

    FILES = "files"
    VECTORS = "vectors"


@dataclass(frozen=True, slots=True)
class Indexing:
    """The index is being brought up to date: ``done`` of ``total``."""

    done: int
    total: int
    what: Indexed = Indexed.FILES


@dataclass(frozen=True, slots=True)
class SearchedDeeper:
    """A further round of a deep search: the names in earlier finds that it searched by, what it ``found``.

    That is the number of excerpts that it added.
    """

    round: int
    names: tuple[str, ...]
    found: int


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """What the model will read, so that the user can read it meanwhile.

    Nothing was ``searched`` for where only the last answer in another form was asked for.
    """

    sources: tuple[Source, ...]
    searched: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """Other questions come first: so many, 0 when this one is next."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """The conversation outgrew the context: a summary stands for its older turns from now on."""

    summary: Summary


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """The engine is starting; the prompt waits for it."""

    model: str


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The engine has started: what runs the model, and what is to be said of that."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class Reading:
    """The model reads the prompt; ``remaining_seconds`` is known once it has a speed."""

    done: int
    total: int
    cached: int
    remaining_seconds: float | None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of what the model thinks before it answers. Kept nowhere."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerRetracted:
    """All text so far is taken back, and another answer follows.

    It rested on these names, which the project lacks; without names: it only pointed at sources.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CitationFound:
    """A source that the finished answer uses."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class ProposedEdits:
    """The code of an answer as a change of the working tree.

    ``diff`` is one that ``git apply`` takes; ``unplaced`` says, a sentence each, of what code it has nothing.
    """

    diff: str = ""
    unplaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """The answer is on disk. The last event of an answer that did not fail.

    ``reasoning`` is what the model thought before it, ``edits`` what its code would change, if that was asked
    for: both on no disk, and gone with this event.
    """

    session_id: str
    turn: Turn
    reasoning: str = ""
    edits: ProposedEdits | None = None


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """The answer ended early; what there was of it is on disk. The last event."""

    code: str
    message: str
    hint: str
    retry_after_seconds: int | None = None


AnswerEvent: TypeAlias = (
    AnswerStarted
    | Indexing
    | SearchedDeeper
    | SourcesFound
    | Waiting
    | ModelLoading
    | ModelLoaded
    | Compacted
    | Reading
    | ReasoningDelta
    | TextDelta
    | AnswerRetracted
    | CitationFound
    | AnswerFinished
    | AnswerFailed
)
