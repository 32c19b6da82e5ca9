"""What is attached to a question in a terminal: files as they are typed, and what is piped in."""

import os
import re
import select
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from coding_assistant.chat.attachments import MOST_ATTACHED_CHARACTERS, require_size
from coding_assistant.cli.screen import Screen
from coding_assistant.contract import Attachment
from coding_assistant.errors import InvalidAttachment

STANDARD_INPUT = "standard input"
"""The name by which a piped text is cited."""

UTF8_BYTES = 4
"""The longest character in UTF-8; more bytes than this for each allowed character are too long a text."""

SILENT_SECONDS = 3.0
"""After so long a user is told what is waited for: whoever started the command may have left a pipe open."""

_RANGE = re.compile(r"(?P<path>.+?):(?P<start>\d{1,9})(?:-(?P<end>\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class TypedFile:
    """A file that was named in the working directory, with the lines that are meant; None: all of them."""

    typed: str
    file: Path
    start_line: int | None = None
    end_line: int | None = None

    @classmethod
    def parse(cls, typed: str) -> "TypedFile":
        """Return what ``PATH[:START[-END]]`` names; ``InvalidAttachment`` where there is no such file."""
        try:
            if (whole := _file(typed)) is not None:
                return cls(typed, whole)
            found = _RANGE.fullmatch(typed)
            if found and (file := _file(found["path"])) is not None:
                start = int(found["start"])
                return cls(typed, file, start, int(found["end"] or start))
        except (OSError, RuntimeError, ValueError):  # too long a name, ~ of nobody, a NUL
            pass
        raise InvalidAttachment(
            f"There is no file {typed!r}.",
            hint="A path is relative to the working directory; lines follow it as PATH:START-END.",
        )

    def within(self, root: Path) -> Attachment:
        """Return the attachment to a question about the project."""
        if not self.file.is_relative_to(root):
            raise InvalidAttachment(
                f"{self.typed} lies outside of the project {root}.",
                hint=f"Pipe it in: coding-assistant ask QUESTION < {self.typed.partition(':')[0]}",
            )
        path = self.file.relative_to(root).as_posix()
        return Attachment(path=path, start_line=self.start_line, end_line=self.end_line)


def attachments(files: Iterable[TypedFile], root: Path, piped: str = "") -> tuple[Attachment, ...]:
    """Return what was named and what was piped in, in this order."""
    texts = [Attachment(name=STANDARD_INPUT, text=piped)] if piped else []
    return (*(each.within(root) for each in files), *texts)


def is_piped() -> bool:
    """Return whether the standard input is a pipe or a file, and not a terminal or /dev/null."""
    if sys.stdin is None:  # as without a console on Windows
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # no file of the system: whoever put it there has text for us
        return not sys.stdin.isatty()
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def piped_text(side: Screen, *, silent_seconds: float = SILENT_SECONDS) -> str:
    """Return what is piped in, to its end; empty if nothing but blanks is. Bytes are kept that are no UTF-8.

    What is slow to come is waited for; that is told, and so is an empty pipe if a person looks on. Raises
    ``AttachmentTooLarge``: what stands before the pipe may never end.
    """
    if not is_piped():
        return ""
    if not _has_begun(silent_seconds):
        side.line("Waiting for what is piped in, to its end; `< /dev/null` asks without it.")
    given = sys.stdin.buffer.read(UTF8_BYTES * MOST_ATTACHED_CHARACTERS + 1)
    text = given.decode("utf-8", "surrogateescape")
    require_size(len(text))
    if text.strip():
        return text
    if side.is_terminal:  # `git diff` without a change, for one
        side.line("Nothing was piped in: the question is asked without it.")
    return ""


def _has_begun(seconds: float) -> bool:
    """Return whether something, be it the end, comes on the standard input in time."""
    try:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
    except (OSError, ValueError):  # Windows, or no file of the system
        return True
    return bool(ready)


def _file(typed: str) -> Path | None:
    """Return the file in full, links of its folders followed, its own not: that one is refused later."""
    file = Path(typed).expanduser().absolute()
    return file.parent.resolve() / file.name if file.is_file() else None
