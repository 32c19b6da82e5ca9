"""The terminal as a place to write to: what may be written there, and in what dress.

Everything that reaches a screen passes ``clean``: what a model or a repository says can colour nothing,
move no cursor and open no link. On a terminal there is colour and there are links; into a pipe or a file
goes the same text, plain. It knows nothing of answers or projects.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

_CONTROLS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1: cursor, colours, titles, links
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks, which show code in another order
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "]"
)


def clean(text: str) -> str:
    """Return the text without the characters that a terminal obeys instead of showing."""
    return _CONTROLS.sub("", text)


def one_line(text: str, *, width: int) -> str:
    """Return the text on one line of at most ``width`` cells; an ellipsis says that it goes on."""
    flat = " ".join(clean(text).split())
    if cell_len(flat) <= width:
        return flat
    kept = Text(flat)
    kept.truncate(max(width, 1), overflow="ellipsis")
    return kept.plain


@dataclass(frozen=True, slots=True)
class Span:
    """A run of text in one style (rich's words: ``bold``, ``dim``, ``cyan``), perhaps a link to a file."""

    text: str
    style: str = ""
    link: Path | None = None


class ReaderLeft(Exception):
    """Whoever read the output has gone, as ``head`` does when it has enough."""


class Screen:
    """One output stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it; colours, links and progress are for persons."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    @property
    def width(self) -> int:
        """The terminal's width in cells."""
        return self._console.width

    @property
    def console(self) -> Console:
        """The console behind it, for a progress bar."""
        return self._console

    def glyph(self, beautiful: str, ascii_only: str) -> str:
        """Return the first if the stream's encoding can write it, otherwise the second."""
        try:
            beautiful.encode(self._stream.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return ascii_only
        return beautiful

    def write(self, *parts: Span | str) -> None:
        """Write without a newline at the end; it is on the screen when this returns."""
        spans = [Span(part) if isinstance(part, str) else part for part in parts]
        if self.is_terminal:
            self._console.print(_styled(spans), end="", soft_wrap=True)
        else:
            self._write_plain("".join(clean(span.text) for span in spans))

    def line(self, *parts: Span | str) -> None:
        """Write a whole line."""
        self.write(*parts, "\n")

    def verbatim(self, text: str) -> None:
        """Write text for a program to read: into a pipe or a file it goes as it is, to the last character."""
        if self.is_terminal:
            self.write(text)
        else:
            self._write_plain(text)

    def table(self, rows: Iterable[Sequence[str]], *, indent: str = "") -> None:
        """Write rows in aligned columns. Nothing is cut: a long row is a long line."""
        cleaned = [[clean(cell) for cell in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(*cleaned, strict=True)]
        for row in cleaned:
            cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
            self.line((indent + "  ".join(cells)).rstrip())

    def json(self, value: Mapping[str, object] | Sequence[object], *, indent: int | None = 2) -> None:
        """Write JSON in ASCII alone: as safe on a terminal as it is in any encoding."""
        self._write_plain(json.dumps(value, indent=indent).replace("\x7f", "\\u007f") + "\n")

    def _write_plain(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise ReaderLeft from None


def standard_output() -> Screen:
    """Return the screen for results."""
    return Screen(_forgiving(sys.stdout))


def standard_error() -> Screen:
    """Return the screen for progress, questions and errors."""
    return Screen(_forgiving(sys.stderr))


def _forgiving(stream: TextIO) -> TextIO:
    """Let a console that lacks a character show ``?`` rather than end the program."""
    reconfigure = getattr(stream, "reconfigure", None)  # a stream put in its place may not have it
    if reconfigure is not None:
        reconfigure(errors="replace")
    return stream


def _styled(spans: Iterable[Span]) -> Text:
    text = Text()
    for span in spans:
        link = None if span.link is None else Style(link=span.link.as_uri())
        text.append(clean(span.text), Style.parse(span.style) + link)
    return text
