"""Reads the cells of a Jupyter notebook out of its JSON, each line where it stands in the file.

A line of a cell keeps its row, and all other rows are blank, but for one above each cell that says what
begins there: so a line number means the same in the file, in a chunk and in a citation. Only files in
which every line of a cell has a row of its own can be read so, as Jupyter and its kin write them.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

NOTEBOOK_SUFFIX = ".ipynb"

CODE_MARK = "# %%"
PROSE_MARK = "# %% [md]"
"""What opens a cell in the row above it, as in scripts that editors run cell by cell."""

# Pictures are single strings, so that a notebook of 10 MB has some ten thousand tokens. What has more, or is
# nested deeper, is data or was made to keep us busy; at the limit scanning takes 0.4 s.
_MOST_TOKENS = 500_000
_DEEPEST_NESTING = 100

_TOKEN = re.compile(r'(?P<string>"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")(?P<colon>\s*+:)?|(?P<bracket>[][{}])')
_SOURCE_LINES = ("", "cells", "", "source")
_CELL = ("", "cells", "")
_LANGUAGES = {(("", "metadata", "language_info"), "name"), (("", "metadata", "kernelspec"), "language")}


@dataclass(frozen=True, slots=True)
class Notebook:
    """The text of a notebook's cells, and the name that its kernel gives to their language, if it does."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class _String:
    """A string that is a value: where it stands, under which keys, and in which cell if in one."""

    path: tuple[str, ...]
    key: str
    literal: str
    offset: int
    cell: int

    @property
    def value(self) -> str:
        """The string itself; half a surrogate pair and NUL, which no text has, are replaced."""
        value: str = json.loads(self.literal)
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()


@dataclass(slots=True)
class _Cell:
    kind: str = ""
    lines: list[tuple[int, str]] = field(default_factory=list)


class _NotByLine(Exception):
    """The file is no notebook, or one whose lines have no rows of their own."""


def read_notebook(text: str) -> Notebook | None:
    """Return what the notebook's cells hold; None for a file that cannot be read by lines."""
    try:
        return _read(text)
    except (_NotByLine, ValueError):
        return None


def _read(text: str) -> Notebook:
    row_starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    cells: dict[int, _Cell] = {}
    language = ""
    for string in _strings(text):
        if (string.path, string.key) in _LANGUAGES:
            language = string.value
        elif string.path == _SOURCE_LINES or (string.path, string.key) == (_CELL, "source"):
            row = bisect_right(row_starts, string.offset) - 1
            cells.setdefault(string.cell, _Cell()).lines.append((row, string.value))
        elif (string.path, string.key) == (_CELL, "cell_type"):
            cells.setdefault(string.cell, _Cell()).kind = string.value
    rows = [""] * (len(row_starts) - 1)
    last = -1
    for cell in cells.values():
        last = _place(cell, rows, above=last)
    if last < 0:
        raise _NotByLine("no cell holds anything")
    return Notebook("\n".join(rows), language)


def _place(cell: _Cell, rows: list[str], *, above: int) -> int:
    """Put a cell's lines into their rows under its mark; return the last row that is taken."""
    if not any(line.strip() for _, line in cell.lines):
        return above
    mark = CODE_MARK if cell.kind == "code" else PROSE_MARK
    for row, line in [(cell.lines[0][0] - 1, mark), *cell.lines]:
        line = line.removesuffix("\n")  # noqa: PLW2901  -- the same line, as a row
        if row <= above or "\n" in line:
            raise _NotByLine("two lines share a row")
        rows[row] = line
        above = row
    return above


def _strings(text: str) -> Iterator[_String]:
    """Yield the strings of a JSON document that are values, with where they stand.

    It looks at brackets, strings and colons alone: whether the rest is valid does not matter here.
    """
    opened: list[tuple[str, str, int]] = []  # bracket, key, offset
    path: tuple[str, ...] = ()
    key = ""
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count > _MOST_TOKENS or len(opened) > _DEEPEST_NESTING:
            raise _NotByLine("too much for a notebook")
        bracket = token["bracket"]
        if bracket is None and token["colon"]:
            key = _plain(token["string"])
            continue
        if bracket is None:
            cell = opened[len(_CELL) - 1][2] if len(opened) >= len(_CELL) else -1
            yield _String(path, key, token["string"], token.start(), cell)
        elif bracket in "[{":
            opened.append((bracket, key, token.start()))
        elif not opened or opened.pop()[0] != _OPENING[bracket]:
            raise _NotByLine("brackets that do not match")
        path = _keys(opened) if bracket else path
        key = ""
    if opened:
        raise _NotByLine("it ends in the middle")


_OPENING = {"]": "[", "}": "{"}


def _keys(opened: Sequence[tuple[str, str, int]]) -> tuple[str, ...]:
    """Return the keys under which the open brackets stand, but no more than are of interest."""
    return tuple(key for _, key, _ in opened[: len(_SOURCE_LINES) + 1])


def _plain(literal: str) -> str:
    """Return a key without its quotes; those of interest have nothing in them to decode."""
    return literal[1:-1]
