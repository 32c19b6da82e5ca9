"""Tells for each row of a file which definition it belongs to.

An outline is a painting: the module's colour covers every row, then each class paints its rows, then
each method in it paints over those. What is left of a class's colour is its head and its fields. So every
row has exactly one owner, whatever the tree looks like, and a broken tree costs names, never lines.
Rows are 0-based here and end at a line feed, as in tree-sitter, git and editors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tree_sitter import Node

from coding_assistant.domain import ChunkKind, ContextLine
from coding_assistant.project import grammars
from coding_assistant.project.definitions import Definition
from coding_assistant.project.grammars import Grammar
from coding_assistant.project.heads import head_lines, head_rows, joined_context

# Definitions nested deeper belong to the one around them. People stop at four; a file of 25,000 nested
# classes would otherwise make dotted names of hundreds of megabytes.
_DEEPEST_NESTING = 12
# A row that starts further right than this is not looked at: reading the margin of every node in a
# minified line would take the square of its length.
_WIDEST_MARGIN = 400
# A cut between a comment and what it is about is as bad as one so many levels deeper.
_UNDER_LEAD = 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large chunks should be, in characters; everything else follows from the target."""

    target: int

    @property
    def longest(self) -> int:
        """A definition up to here stays whole: cutting 1,200 characters at 1,000 helps nobody."""
        return self.target * 3 // 2

    @property
    def whole_class(self) -> int:
        """A class up to here stays whole, with its methods: fifteen lines are read at a glance."""
        return self.target // 2

    @property
    def small(self) -> int:
        """A definition below this is merged with small neighbours, and may lose its symbol to them."""
        return self.target // 8

    @property
    def tiny(self) -> int:
        """Loose lines below this, such as a lonely import, join what follows them."""
        return self.target // 10


@dataclass(frozen=True, slots=True)
class Region:
    """An owner of rows. ``is_whole``: nothing inside it has an owner of its own.

    ``joins``: it may share a chunk with its neighbours however large it is. ``head`` are the lines that tell
    what it is, ``around`` the heads of what it lies in.
    """

    kind: ChunkKind
    symbol: str | None
    parent: int
    first_row: int
    is_whole: bool
    joins: bool = False
    around: tuple[ContextLine, ...] = ()
    head: tuple[ContextLine, ...] = ()

    @property
    def context(self) -> tuple[ContextLine, ...]:
        """What somebody has to know who reads rows from the middle of it."""
        return joined_context(self.around, self.head)


@dataclass(frozen=True, slots=True)
class Outline:
    """The owner of each row, as an index into ``regions``, and where a long region is best cut.

    The first region is the file itself, and its own parent. ``cut_depths`` holds the rows at which a
    statement starts, with its depth in the tree: the shallower, the better the cut.
    """

    regions: list[Region]
    owners: list[int]
    cut_depths: dict[int, int]


def file_region(kind: ChunkKind) -> Region:
    """Return the region that stands for a whole file."""
    return Region(kind, symbol=None, parent=0, first_row=0, is_whole=False)


def flat_outline(row_count: int) -> Outline:
    """Return the outline of a file in which nothing is known: lines, and nothing but lines."""
    return Outline([file_region(ChunkKind.LINES)], [0] * row_count, {})


def syntax_outline(language: str, lines: Sequence[str], sizes: Sizes) -> Outline:
    """Return the outline of a file in a language that ``grammars`` knows."""
    source = "\n".join(lines).encode()
    painter = _Painter(grammars.GRAMMARS[language], source, lines, sizes)
    painter.paint(grammars.parse(language, source))
    return Outline(painter.regions, painter.owners, painter.cut_depths)


@dataclass(slots=True)
class _Level:
    """Where the walk stands: in which region, how deep, and in which wrapper if in one."""

    region: int
    nesting: int
    wrapper_start: int | None = None
    wrapper_end: int = 0


class _Painter:
    """One pass over a tree with a cursor: recursion would end at a thousand levels, files do not."""

    def __init__(self, grammar: Grammar, source: bytes, lines: Sequence[str], sizes: Sizes) -> None:
        self.regions = [file_region(ChunkKind.MODULE)]
        self.owners = [0] * len(lines)
        self.cut_depths: dict[int, int] = {}
        self._grammar = grammar
        self._source = source
        self._lines = lines
        self._sizes = sizes
        self._lead_rows: set[int] = set()
        self._first_filled_row = next((row for row, line in enumerate(lines) if line.strip()), 0)

    def paint(self, root: Node) -> None:
        cursor = root.walk()
        levels = [_Level(region=0, nesting=0)]
        if not cursor.goto_first_child():
            return
        while True:
            inner = self._enter(cursor.node, levels[-1], depth=len(levels))
            if inner is not None and cursor.goto_first_child():
                levels.append(inner)
                continue
            while not cursor.goto_next_sibling():
                if len(levels) == 1:
                    return
                cursor.goto_parent()
                levels.pop()

    def _enter(self, node: Node | None, level: _Level, *, depth: int) -> _Level | None:
        """Take note of the node; return the level of its children when they are worth a look."""
        if node is None or not node.is_named:
            return None
        start, end = self._rows(node)
        if self._is_first_in_row(node):
            under_lead = _UNDER_LEAD if start - 1 in self._lead_rows else 0
            self.cut_depths.setdefault(start, depth + under_lead)
            if self._grammar.is_lead(node):
                self._lead_rows.update(range(start, end + 1))
                return None
        definition = self._grammar.definition(node) if level.nesting < _DEEPEST_NESTING else None
        if definition is not None:
            return self._define(definition, node, level)
        if node.type in self._grammar.wrappers:
            wrapper_start = start if level.wrapper_start is None else level.wrapper_start
            return _Level(level.region, level.nesting, wrapper_start, max(end, level.wrapper_end))
        # Loose code is looked into when it is large: for definitions in it, and for places to cut it.
        is_large = node.end_byte - node.start_byte > self._sizes.whole_class
        if is_large or node.is_error or node.type in self._grammar.through:
            return _Level(level.region, level.nesting)
        return None

    def _define(self, definition: Definition, node: Node, level: _Level) -> _Level | None:
        start, end = self._rows_with_leads(node, level)
        if start > end:  # it begins in its owner's first row, which stays the owner's
            return None
        length = node.end_byte - node.start_byte
        is_class = definition.kind is ChunkKind.CLASS
        is_whole = length <= (self._sizes.whole_class if is_class else self._sizes.longest)
        region = self._region(definition, level.region, node, start, is_whole=is_whole)
        index = self._earlier_part(region, length) if self._grammar.gathers else None
        if index is None:
            index = len(self.regions)
            self.regions.append(region)
        self.owners[start : end + 1] = [index] * (end + 1 - start)
        return None if is_whole else _Level(index, level.nesting + 1)

    def _region(
        self, definition: Definition, parent: int, node: Node, start: int, *, is_whole: bool
    ) -> Region:
        owner = self.regions[parent]
        kind = definition.kind
        if kind is ChunkKind.FUNCTION and owner.kind is ChunkKind.CLASS:
            kind = ChunkKind.METHOD
        symbol = f"{owner.symbol}.{definition.name}" if owner.symbol else definition.name
        head = head_lines(self._lines, *head_rows(node))
        return Region(kind, symbol, parent, start, is_whole, around=owner.context, head=head)

    def _earlier_part(self, region: Region, length: int) -> int | None:
        """Return the region just above if it is the same definition's earlier equations, and has room."""
        above = region.first_row - 1
        while above >= 0 and not self._lines[above].strip():
            above -= 1
        if above < 0 or not region.is_whole:
            return None
        index = self.owners[above]
        other = self.regions[index]
        is_same = (other.symbol, other.parent, other.is_whole) == (region.symbol, region.parent, True)
        so_far = sum(len(line) + 1 for line in self._lines[other.first_row : above + 1]) if is_same else 0
        return index if is_same and so_far + length <= self._sizes.longest else None

    def _rows_with_leads(self, node: Node, level: _Level) -> tuple[int, int]:
        """Return the node's rows with its wrapper and the comments and attributes right above."""
        start, end = self._rows(node)
        if level.wrapper_start is not None:
            start = level.wrapper_start
            level.wrapper_start = None  # a second definition in it does not take the opening again
            if level.wrapper_end == end + 1:
                end += 1
        while (above := self._lead_row_above(start)) is not None and self.owners[above] == level.region:
            start = above
        if level.region:
            start = max(start, self.regions[level.region].first_row + 1)
        return start, end

    def _lead_row_above(self, row: int) -> int | None:
        """Return the row above if it is a comment's; one blank row may stand between, as some styles want.

        Not for the comment that opens a file: it is the file's, or the licence's.
        """
        above = row - 1
        if above > 0 and above - 1 in self._lead_rows and not self._lines[above].strip():
            first = above - 1
            while first - 1 in self._lead_rows:
                first -= 1
            return above - 1 if first > self._first_filled_row else None
        return above if above in self._lead_rows else None

    def _rows(self, node: Node) -> tuple[int, int]:
        """Return the first and the last row of a node; one that ends with a line feed ends before it."""
        start, (end, column) = node.start_point.row, node.end_point
        if column == 0 and end > start:
            end -= 1
        last = len(self._lines) - 1
        return min(start, last), min(end, last)

    def _is_first_in_row(self, node: Node) -> bool:
        margin = node.start_point.column
        if margin > _WIDEST_MARGIN:
            return False
        return not self._source[node.start_byte - margin : node.start_byte].strip()
