"""What comes with a question: lines of the project's files, and texts such as a diff or a stack trace.

An attachment becomes a source like those that a search finds: numbered, shown with its line numbers, cited.
Files are read by the walk's own rules, so that nothing is shown that would not be indexed. A text has no
file: its name stands in the place of a path. What to search for beside the attachments they say themselves.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from coding_assistant.domain import (
    Chunk,
    ChunkKind,
    FoundFile,
    Hit,
    SkippedFile,
    SkipReason,
    Source,
    SourceFile,
)
from coding_assistant.errors import AttachmentTooLarge, InvalidAttachment
from coding_assistant.index.locations import named_locations
from coding_assistant.project.walk import read, walk

MOST_ATTACHMENTS: Final = 16
"""With one question."""

MOST_ATTACHED_CHARACTERS: Final = 200_000
"""Of all attachments of a question: some 60,000 tokens, more than most models hold at all."""

MOST_FOUND_SHARE: Final = 0.5
"""Of the budget, for what is found beside a text that was given. What its places find is worth as much: they
say where, the code says why. Among more of it Qwen2.5-Coder 1.5B reviewed a source that was found, and not
the diff."""

MOST_NAMES: Final = 12
"""Of an attachment, to search with: a question has hardly more."""

MOST_PLACES: Final = 8

_LONGEST_MESSAGE_CHARACTERS: Final = 300

_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(?P<start>\d+)(?:,(?P<count>\d+))? @@(?P<inside>.*)$")
_NEW_FILE = re.compile(r"^\+\+\+ (?:b/)?(?P<path>[^\t]+)")
_OLD_FILE = re.compile(r"^--- (?:a/)?(?P<path>[^\t]+)")
_DEFINED = re.compile(r"\b(?:def|class|fn|func|function|struct|enum|trait|interface|type)\s+(\w+)")
_CALLED = re.compile(r"\b([^\W\d]\w{3,})\s*\(")
_RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Warning|Panic|panicked)\b.*", re.MULTILINE)

_OBSTACLES: Final = {
    SkipReason.IGNORED: "is hidden by an ignore file or lies in a folder that is never read",
    SkipReason.SECRET: "is of a kind that holds secrets",
    SkipReason.LINK: "is a link, or reached through one",
    SkipReason.SPECIAL: "is no regular file",
    SkipReason.TOO_LARGE: "is too large",
    SkipReason.BINARY: "is no text",
    SkipReason.ENCODING: "is not UTF-8",
    SkipReason.MINIFIED: "is minified",
    SkipReason.GENERATED: "was made by a program",
    SkipReason.UNREADABLE: "cannot be read",
}


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """Lines of a file of the project, or all of it; a start alone is that one line.

    ``path`` is relative to the project, or absolute and inside it.
    """

    path: str
    start_line: int | None = None
    end_line: int | None = None


@dataclass(frozen=True, slots=True)
class AttachedText:
    """A text that is in no file, under the name that it is cited by."""

    name: str
    text: str


Attached: TypeAlias = AttachedFile | AttachedText


# --- Reading ----------------------------------------------------------------------------------


def attached_chunks(root: Path, attachments: Iterable[Attached]) -> tuple[Chunk, ...]:
    """Return what is attached, in its order, each once; secrets in files are redacted as in the index.

    Raises ``InvalidAttachment`` for what cannot be read, and ``AttachmentTooLarge`` for too much.
    """
    chunks = tuple(dict.fromkeys(_chunk(root, each) for each in attachments))
    require_size(sum(len(chunk.text) for chunk in chunks))
    return chunks


def require_size(characters: int) -> None:
    """Raise ``AttachmentTooLarge`` for attachments that have more characters together than are read."""
    if characters > MOST_ATTACHED_CHARACTERS:
        raise AttachmentTooLarge(
            f"The attachments have {characters:,} characters; at most {MOST_ATTACHED_CHARACTERS:,} are read.",
            hint="Name a range of lines (PATH:START-END), or narrow down the diff or the log.",
        )


def _chunk(root: Path, attached: Attached) -> Chunk:
    if isinstance(attached, AttachedText):
        text = attached.text.rstrip("\n")
        return Chunk(PurePosixPath(attached.name), 1, text.count("\n") + 1, text, kind=ChunkKind.GIVEN)
    file = _file(root, _relative(root, attached.path))
    text = file.text.removesuffix("\n")
    whole = Chunk(file.path, 1, text.count("\n") + 1, text, file.language, kind=ChunkKind.ATTACHED)
    if attached.start_line is None:
        chunk = whole
    else:
        start, end = attached.start_line, attached.end_line or attached.start_line
        if not 1 <= start <= min(end, whole.end_line):
            raise InvalidAttachment(
                f"{file.path} has {whole.end_line:,} lines: {start}-{end} are none of them.",
                hint="Lines are counted from 1: PATH:START-END.",
            )
        chunk = whole.part(start, min(end, whole.end_line))
    if not chunk.text.strip():
        raise InvalidAttachment(f"There is nothing in {chunk.location}.", hint="Attach other lines.")
    return chunk


def _relative(root: Path, path: str) -> PurePosixPath:
    """Return the path inside the project, which it must not leave; nothing of the disk is looked at."""
    named = Path(path)
    inside = named.relative_to(root) if named.is_absolute() and named.is_relative_to(root) else named
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise InvalidAttachment(
            f"{path} is not a file inside the project {root}.",
            hint="Attach a file of the project, or pipe the text: coding-assistant ask QUESTION < FILE",
        )
    return PurePosixPath(inside.as_posix())


def _file(root: Path, path: PurePosixPath) -> SourceFile:
    """Return the file as the index would hold it."""
    try:
        seen = next((each for each in walk(root, only=[path]) if _leads_to(each, path)), None)
    except ValueError:  # a NUL in it
        seen = None
    if seen is None:
        raise InvalidAttachment(
            f"There is no file {path} in the project {root}.",
            hint="Check the spelling: the path is relative to the project's folder.",
        )
    file = read(root, seen) if isinstance(seen, FoundFile) else seen
    if isinstance(file, SourceFile):
        return file
    obstacle = "it" if file.path == path else str(file.path)
    raise InvalidAttachment(
        f"{path} is not read, for {obstacle} {_OBSTACLES[file.reason]}.",
        hint="What you may show of it, pipe in: coding-assistant ask QUESTION < FILE",
    )


def _leads_to(seen: FoundFile | SkippedFile, path: PurePosixPath) -> bool:
    """Return whether this is the path's file, or a folder above it that is passed over."""
    return seen.path == path or (isinstance(seen, SkippedFile) and seen.path in path.parents)


# --- What to search for, and how much of it to show ----------------------------------------------


def search_text(question: str, attached: Sequence[Chunk]) -> str:
    """Return what to search with: the question, and the places and names that the attachments give away.

    Of a stack trace its frames and what was raised, of a diff the changed places, of code what it calls.
    """
    return "\n".join((question, *(hint for chunk in attached if (hint := _hint(chunk)))))


def room_for_found(token_budget: int, attached: Sequence[Chunk], *, taken: float) -> int:
    """Return what of the budget is left for what is found, where attachments have ``taken`` so many tokens.

    A text that was given leaves at most ``MOST_FOUND_SHARE`` of it; one that names places, a trace or a diff,
    just that, however long it is.
    """
    given = [chunk for chunk in attached if chunk.kind is ChunkKind.GIVEN]
    share = round(MOST_FOUND_SHARE * token_budget)
    if any(_places(chunk.text) for chunk in given):
        return share
    left = round(max(token_budget - taken, 0.0))
    return min(left, share) if given else left


def without_attached(hits: Sequence[Hit], attached: Sequence[Chunk]) -> list[Hit]:
    """Return the hits of which the attachments do not show every line."""
    return [hit for hit in hits if not any(_covers(chunk, hit.chunk) for chunk in attached)]


def is_diff(text: str) -> bool:
    """Return whether the text holds a unified diff."""
    return any(_HUNK.match(line) for line in text.split("\n"))


def names_code_lines(text: str) -> bool:
    """Return whether the text is a stack trace or a log: it names files with their lines."""
    return any(location.line for location in named_locations(text))


def with_lines(source: Source, lines: int) -> Source:
    """Return the source cut to so many lines: its first, or the last of a log or a trace."""
    chunk = source.chunk
    if _says_most_at_its_end(chunk):
        part = chunk.part(chunk.end_line - lines + 1, chunk.end_line)
    else:
        part = chunk.part(chunk.start_line, chunk.start_line + lines - 1)
    return Source(source.number, part, part.digest)


def lines_left_out(source: Source, shown: Source | None) -> Source:
    """Return the part of a source that is not shown, where its first or its last lines may be."""
    if shown is None:
        return source
    chunk, kept = source.chunk, shown.chunk
    if kept.start_line > chunk.start_line:
        rest = chunk.part(chunk.start_line, kept.start_line - 1)
    else:
        rest = chunk.part(kept.end_line + 1, chunk.end_line)
    return Source(source.number, rest, rest.digest)


def _says_most_at_its_end(chunk: Chunk) -> bool:
    if chunk.kind is not ChunkKind.GIVEN or is_diff(chunk.text):
        return False
    return names_code_lines(chunk.text)


def _hint(chunk: Chunk) -> str:
    text = chunk.text
    names: Iterable[str]
    if chunk.kind is ChunkKind.ATTACHED:
        defined = set(_DEFINED.findall(text))
        names = (name for name in _CALLED.findall(text) if name not in defined)
        return _in_quotes(names)
    if is_diff(text):
        names = (name for line in text.split("\n") for name in _names_of_diff_line(line))
        return f"{' '.join(_places(text))} {_in_quotes(names)}".strip()
    if places := _places(text):
        raised = [match.group() for match in _RAISED.finditer(text)][-1:]
        return "\n".join((" ".join(places), *(each[:_LONGEST_MESSAGE_CHARACTERS] for each in raised)))
    return _in_quotes(_CALLED.findall(text)) or text[:_LONGEST_MESSAGE_CHARACTERS]


def _in_quotes(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in list(dict.fromkeys(names))[:MOST_NAMES])


def _names_of_diff_line(line: str) -> list[str]:
    """Return the names that a line of a diff changes, or says that it changes something in."""
    if hunk := _HUNK.match(line):
        return _DEFINED.findall(hunk["inside"])
    if line.startswith(("+", "-")) and not line.startswith(("+++", "---")):
        return [*_DEFINED.findall(line), *_CALLED.findall(line)]
    return []


def _places(text: str) -> list[str]:
    """Return the lines of code that a text names, as ``path:line``: of a trace, from where it failed."""
    if is_diff(text):
        found = list(_places_of_diff(text.split("\n")))
    else:
        found = [f"{each.path}:{each.line}" for each in named_locations(text) if each.line]
    return list(dict.fromkeys(found))[:MOST_PLACES]


def _places_of_diff(lines: Sequence[str]) -> Iterator[str]:
    """Yield the middle of each hunk, in the file as it is after the change."""
    path = ""
    for line in lines:
        if old := _OLD_FILE.match(line):
            path = old["path"]
        elif (new := _NEW_FILE.match(line)) and new["path"] != "/dev/null":
            path = new["path"]
        elif (hunk := _HUNK.match(line)) and path:
            middle = int(hunk["start"]) + int(hunk["count"] or 1) // 2
            yield f"{path}:{max(middle, 1)}"


def _covers(chunk: Chunk, other: Chunk) -> bool:
    return (
        chunk.kind is ChunkKind.ATTACHED
        and chunk.path == other.path
        and chunk.start_line <= other.start_line
        and other.end_line <= chunk.end_line
    )
