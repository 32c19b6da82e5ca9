"""A project and its code: files, chunks, hits, and the events of indexing."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Project:
    """A folder that questions can be asked about."""

    id: str
    root: Path
    name: str


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What a walk sees of a file without reading it; equal stamps mean an unchanged file.

    ``changed_ns`` is the system's own note of the last change (ctime): ``cp -p``, ``tar`` and ``rsync -t``
    set the time of modification to what they like, and this one to now.
    """

    size: int
    modified_ns: int
    changed_ns: int


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
    """What a chunk was cut from.

    The last two come with a question: ``attached`` are lines of a file that its asker chose, ``given`` is a
    text that is in no file, and its path a mere name.
    """

    FUNCTION = "function"
    METHOD = "method"
    CLASS = "class"
    MODULE = "module"
    SECTION = "section"
    CELL = "cell"
    LINES = "lines"
    ATTACHED = "attached"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class ContextLine:
    """A line of a file that stands outside a chunk; a text that was cut ends with an ellipsis."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of whole lines of one file: the unit that is indexed, found and cited.

    ``context`` are lines outside it, in the order of the file, that say where it stands: the heads of the
    definitions or sections around it, and below the head of a large class those of its members. It is no
    part of the text, so neither of what is cited.
    """

    path: PurePosixPath
    start_line: int
    end_line: int
    text: str
    language: str | None = None
    symbol: str | None = None
    kind: ChunkKind = ChunkKind.LINES
    context: tuple[ContextLine, ...] = ()

    @property
    def location(self) -> str:
        """``path:start-end``, as it is printed and cited."""
        return f"{self.path}:{self.start_line}-{self.end_line}"

    @property
    def digest(self) -> str:
        """The digest of the chunk's text, whatever its place."""
        return text_digest(self.text)

    def part(self, start_line: int, end_line: int) -> "Chunk":
        """Return the chunk's lines from one line of its file to another, both within it, without context."""
        lines = self.text.split("\n")[start_line - self.start_line : end_line - self.start_line + 1]
        return replace(self, start_line=start_line, end_line=end_line, text="\n".join(lines), context=())


class SearchMode(StrEnum):
    """What finds chunks: their words, their vectors, or both."""

    HYBRID = "hybrid"
    TEXT = "text"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found; ``why`` holds the contributions that add up to the score."""

    chunk: Chunk
    score: float
    why: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What an index holds after an update.

    ``degraded`` files are among its files, but cut without regard to their syntax: the parser failed at them,
    or could not be run.
    """

    files: int
    chunks: int
    skipped: Mapping[SkipReason, int]
    changed: int
    removed: int
    seconds: float
    degraded: int = 0


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


@dataclass(frozen=True, slots=True)
class ChunksEmbedded:
    """So many of the ``total`` chunks that had no vector have one now."""

    done: int
    total: int


IndexEvent: TypeAlias = FilesCompared | FileIndexed | FileSkipped | IndexFinished


def text_digest(text: str) -> str:
    """Return the SHA-256 of the text in hexadecimal; equal digests mean equal text."""
    return hashlib.sha256(text.encode()).hexdigest()
