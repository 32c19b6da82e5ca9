"""Conversations: sessions, turns, answers, citations and receipts."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath

from coding_assistant.domain.code import Chunk, ChunkKind
from coding_assistant.domain.models import Finish, Role


class SourceOrigin(StrEnum):
    """Where a source comes from: a search, or the asker, as lines of a file or as a text of no file."""

    FOUND = "found"
    ATTACHED = "attached"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Source:
    """A chunk shown to the model under a number that holds for the whole conversation."""

    number: int
    chunk: Chunk
    digest: str

    @property
    def origin(self) -> SourceOrigin:
        """Who brought it."""
        match self.chunk.kind:
            case ChunkKind.ATTACHED:
                return SourceOrigin.ATTACHED
            case ChunkKind.GIVEN:
                return SourceOrigin.GIVEN
            case _:
                return SourceOrigin.FOUND


class CitationState(StrEnum):
    """How a cited source compares with the working tree; ``given``: it is in no file."""

    VERIFIED = "verified"
    MOVED = "moved"
    CHANGED = "changed"
    GONE = "gone"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that the answer uses; the lines are today's where the text has moved.

    It ``is_inferred`` where the answer does not cite it, but gives away by its words that it rests on it.
    """

    source: Source
    start_line: int
    end_line: int
    state: CitationState
    is_inferred: bool = False

    @property
    def location(self) -> str:
        """``path:start-end`` of the cited lines, as they stand now."""
        return f"{self.source.chunk.path}:{self.start_line}-{self.end_line}"


@dataclass(frozen=True, slots=True)
class ReceiptSection:
    """The tokens that one part of the prompt took."""

    name: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that was left out of the prompt, and why."""

    what: str
    reason: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the model read for an answer, in tokens; nothing is left out without a line here.

    ``cold`` says why the turns before had to be read again, as a sentence; it is empty where they had not.
    ``search`` says how far a deep search went; it is empty for the usual one.
    """

    limit: int
    reserved: int
    sections: tuple[ReceiptSection, ...]
    dropped: tuple[Dropped, ...] = ()
    cached: int = 0
    new: int = 0
    freshness: str = ""
    cold: str = ""
    search: str = ""

    @property
    def used(self) -> int:
        """The length of the prompt."""
        return sum(section.tokens for section in self.sections)


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of an answer went, in seconds, and how much was written."""

    searching: float = 0.0
    loading: float = 0.0
    reading: float = 0.0
    writing: float = 0.0
    first_token: float = 0.0
    total: float = 0.0
    written_tokens: int = 0


@dataclass(frozen=True, slots=True)
class NamedPlace:
    """Something that the project has, by its name and the line where it begins."""

    name: str
    path: PurePosixPath
    line: int


@dataclass(frozen=True, slots=True)
class Grounding:
    """What of an answer the project does not bear out.

    ``unverified_names`` are written in the answer as names of the project and stand nowhere in it.
    ``taken_back`` are those for which a first answer was taken back. Where the answer says that it was
    ``not_found``, so many files were searched for these words, and the ``nearest`` things are there.
    """

    unverified_names: tuple[str, ...] = ()
    taken_back: tuple[str, ...] = ()
    not_found: bool = False
    searched_files: int = 0
    searched_words: tuple[str, ...] = ()
    nearest: tuple[NamedPlace, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, or as much of it as there is.

    ``tokens`` are those that it wrote, of the vocabulary named beside them; none where they are not known.
    """

    text: str
    finish: Finish
    model: str
    finished_at: datetime
    citations: tuple[Citation, ...] = ()
    unknown_citations: tuple[int, ...] = ()
    receipt: Receipt | None = None
    timings: Timings = field(default_factory=Timings)
    failure: str = ""
    tokens: tuple[int, ...] = ()
    vocabulary: str = ""
    grounding: Grounding = field(default_factory=Grounding)


class SummaryOrigin(StrEnum):
    """Who wrote a summary: the model, or a rule that takes sentences out."""

    MODEL = "model"
    EXTRACT = "extract"


@dataclass(frozen=True, slots=True)
class Summary:
    """What the model reads in place of a conversation's turns up to ``last_turn``."""

    last_turn: int
    text: str
    origin: SummaryOrigin
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer. No answer: the model is at work, or has not begun.

    ``commit`` is what was checked out when it was asked, empty where there is no repository. ``note`` is what
    the model was told of the question behind it: the prompts to come say it again.
    """

    id: str
    conversation_id: str
    number: int
    question: str
    asked_at: datetime
    sources: tuple[Source, ...] = ()
    answer: Answer | None = None
    commit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A person's sitting: it holds conversations that do not see each other."""

    id: str
    created_at: datetime
    last_active_at: datetime
    conversation_count: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation about a project, without its turns.

    ``primer`` is what the model was told of the project at the conversation's beginning; it never changes, or
    the whole would have to be read again. ``model`` is the one that was chosen for it, by a name of the
    catalog or a path; None: whichever the settings name. ``deleted_at`` is set while a deletion can be
    undone.
    """

    id: str
    session_id: str
    project_id: str
    title: str
    created_at: datetime
    updated_at: datetime
    pinned: bool = False
    archived: bool = False
    turn_count: int = 0
    primer: str = ""
    deleted_at: datetime | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that holds what was sought; without ``turn_id`` and ``role``, it is a title."""

    conversation_id: str
    project_id: str
    title: str
    turn_id: str | None
    role: Role | None
    said_at: datetime
    snippet: str
