"""Outlines a notebook by its cells: neighbours under one heading share a chunk while there is room.

A cell that defines one thing stands by itself under that name. One that is too long for a chunk is cut by
the syntax of its language. Knows the text that ``notebooks`` makes, not the file behind it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from coding_assistant.domain import ChunkKind, ContextLine
from coding_assistant.project.grammars import GRAMMARS
from coding_assistant.project.headings import heading_outline
from coding_assistant.project.notebooks import CODE_MARK, PROSE_MARK
from coding_assistant.project.outline import (
    Outline,
    Region,
    Sizes,
    file_region,
    flat_outline,
    syntax_outline,
)

# Commands to the notebook or to a shell; after two signs the whole cell is one.
_COMMANDS = ("%", "!")
_CELL_COMMAND = "%%"


@dataclass(frozen=True, slots=True)
class _Cell:
    """The rows of a cell, its mark's first."""

    first: int
    last: int
    is_code: bool


def cell_outline(language: str | None, lines: Sequence[str], sizes: Sizes) -> Outline:
    """Return one region for each cell, and for what is defined in a cell that is too long."""
    cells = list(_cells(lines))
    sections = heading_outline("markdown", _prose(lines, cells))
    outline = Outline(
        [file_region(ChunkKind.CELL), *(replace(each, kind=ChunkKind.CELL) for each in sections.regions[1:])],
        [0] * len(lines),
        {},
    )
    for cell in cells:
        rows = lines[cell.first : cell.last + 1]
        inner = flat_outline(len(rows))
        if cell.is_code and language is not None and language in GRAMMARS:
            inner = syntax_outline(language, _without_commands(rows), sizes)
        filled = (row for row in range(cell.first + 1, cell.last) if lines[row].strip())
        section = sections.owners[next(filled, cell.last)]  # that of a heading which opens the cell
        is_long = sum(len(line) + 1 for line in rows) > sizes.longest
        _paint(outline, cell, inner, section=section, is_long=is_long)
    return outline


def _cells(lines: Sequence[str]) -> Iterator[_Cell]:
    marks = [row for row, line in enumerate(lines) if line in (CODE_MARK, PROSE_MARK)]
    for first, after in pairwise([*marks, len(lines)]):
        yield _Cell(first, after - 1, is_code=lines[first] == CODE_MARK)


def _prose(lines: Sequence[str], cells: Sequence[_Cell]) -> list[str]:
    """Return the lines with all blank but those of prose, each in its row."""
    prose = [""] * len(lines)
    for cell in cells:
        if not cell.is_code:
            prose[cell.first + 1 : cell.last + 1] = lines[cell.first + 1 : cell.last + 1]
    return prose


def _without_commands(rows: Sequence[str]) -> list[str]:
    """Return the rows with blanks for what is not in the language."""
    if any(row.startswith(_CELL_COMMAND) for row in rows):
        return [""] * len(rows)
    return ["" if row.startswith(_COMMANDS) else row for row in rows]


def _paint(outline: Outline, cell: _Cell, inner: Outline, *, section: int, is_long: bool) -> None:
    """Give the cell's rows to a region of its own, and if it is long those of its definitions to theirs."""
    home = outline.regions[section]
    names = [region.symbol for region in inner.regions[1:] if region.parent == 0]
    own = Region(
        ChunkKind.CELL,
        names[0] if len(names) == 1 else home.symbol,
        section,
        cell.first,
        is_whole=not is_long,
        joins=len(names) != 1,
        around=home.context,
    )
    base = len(outline.regions)
    outline.regions.append(own)
    outline.owners[cell.first : cell.last + 1] = [base] * (cell.last + 1 - cell.first)
    if not is_long:
        return
    outline.regions.extend(_moved(region, cell, base, around=own.around) for region in inner.regions[1:])
    outline.owners[cell.first : cell.last + 1] = [base + owner for owner in inner.owners]
    outline.cut_depths.update({row + cell.first: depth for row, depth in inner.cut_depths.items()})


def _moved(region: Region, cell: _Cell, base: int, *, around: tuple[ContextLine, ...]) -> Region:
    """Return a region of the cell's own outline as one of the whole notebook's."""
    return replace(
        region,
        parent=base + region.parent,
        first_row=cell.first + region.first_row,
        around=(*around, *_lower(region.around, cell.first)),
        head=_lower(region.head, cell.first),
    )


def _lower(lines: Sequence[ContextLine], rows: int) -> tuple[ContextLine, ...]:
    return tuple(ContextLine(line.line + rows, line.text) for line in lines)
