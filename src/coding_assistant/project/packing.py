"""Turns an outline into chunks: merges what is small, cuts what is long, loses nothing.

Every non-blank row comes out in exactly one chunk, in order; blank rows only inside a chunk. Nothing here
knows a language.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from coding_assistant.domain import Chunk, ChunkKind, ContextLine, SourceFile
from coding_assistant.project.heads import ELLIPSIS
from coding_assistant.project.outline import Outline, Region, Sizes

_UNKNOWN_DEPTH = 1_000  # deeper than any statement that the outline knows
_TAB_COLUMNS = 4
_HEADING_ROWS = 3
# Where more rows are blank, no one left them so: in a notebook, an output stands there. Between two cells
# without one there are eight.
_WIDEST_GAP = 12
# Members are listed with the head of their class, for whoever asks what it can do. Of Django's large classes
# 87 in 100 have no more; half of the lists take 190 characters, nine in ten 650.
_MOST_MEMBERS = 12
_CLOSING = (")", "]", "}", "</", "end", "#endif")


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows that will be one chunk unless they are too long. ``label`` says whose they are."""

    start: int
    end: int
    home: int
    label: Region
    is_mergeable: bool


class Packer:
    """Packs the rows of one file."""

    def __init__(self, file: SourceFile, lines: Sequence[str], outline: Outline, sizes: Sizes) -> None:
        self._file = file
        self._lines = lines
        self._outline = outline
        self._sizes = sizes
        # Characters before each row, so that the size of any run is one subtraction.
        self._before = [0, *accumulate(len(line) + 1 for line in lines)]
        self._members = _members(outline.regions)

    def chunks(self) -> list[Chunk]:
        """Return the chunks in the order of their lines."""
        runs = self._absorb_tiny(self._merge_small(self._runs()))
        return [self._chunk(start, end, run.label) for run in runs for start, end in self._pieces(run)]

    def _chunk(self, start: int, end: int, label: Region) -> Chunk:
        return Chunk(
            path=self._file.path,
            start_line=start + 1,
            end_line=end + 1,
            text="\n".join(self._lines[start : end + 1]),
            language=self._file.language,
            symbol=label.symbol,
            kind=label.kind,
            context=(*self._context_above(start), *self._members_below(start, end)),
        )

    def _context_above(self, start: int) -> Iterator[ContextLine]:
        """Yield the heads of what the row lies in, as far as they stand above it."""
        context = self._outline.regions[self._outline.owners[start]].context
        return (line for line in context if line.line <= start)

    def _members_below(self, start: int, end: int) -> list[ContextLine]:
        """Return what the classes that begin in these rows hold further down, a line a member."""
        regions = self._outline.regions
        begun = (
            index
            for index in dict.fromkeys(self._outline.owners[start : end + 1])
            if index in self._members and start <= regions[index].first_row
        )
        below = {line.line: line for index in begun for line in self._members[index] if line.line > end + 1}
        lines = [below[number] for number in sorted(below)]
        if len(lines) > _MOST_MEMBERS:
            last = lines[_MOST_MEMBERS - 1]
            text = last.text.removesuffix(ELLIPSIS).rstrip()
            lines[_MOST_MEMBERS - 1 :] = [ContextLine(last.line, f"{text} {ELLIPSIS}")]
        return lines

    def _size(self, start: int, end: int) -> int:
        return self._before[end + 1] - self._before[start]

    # --- Runs: neighbouring rows of one owner -------------------------------------------------

    def _runs(self) -> Iterator[_Run]:
        start = end = -1
        for row, line in enumerate(self._lines):
            if not line.strip():
                continue
            if start >= 0 and not self._continues(start, end, row):
                yield self._run(start, end)
                start = row
            start, end = (row if start < 0 else start), row
        if start >= 0:
            yield self._run(start, end)

    def _continues(self, start: int, end: int, row: int) -> bool:
        """Whether a row goes with the run above it: of one owner, or the brace that ends what is there."""
        owners = self._outline.owners
        if owners[row] == owners[start]:
            return True
        is_loose = not self._outline.regions[owners[row]].is_whole
        was_in_run = owners[end] in (owners[start], owners[row])
        return is_loose and was_in_run and self._lines[row].lstrip().startswith(_CLOSING)

    def _run(self, start: int, end: int) -> _Run:
        index = self._outline.owners[start]
        region = self._outline.regions[index]
        is_small = self._size(start, end) < self._sizes.small
        home = region.parent if region.is_whole else index
        is_mergeable = is_small or region.joins or not region.is_whole
        return _Run(start, end, home, region, is_mergeable)

    # --- Merging --------------------------------------------------------------------------------

    def _merge_small(self, runs: Iterator[_Run]) -> Iterator[_Run]:
        """Join neighbours of one home, loose lines and small definitions, up to the target."""
        group: list[_Run] = []
        for run in runs:
            if group and not self._can_join(group, run):
                yield self._joined(group)
                group = []
            group.append(run)
        if group:
            yield self._joined(group)

    def _can_join(self, group: list[_Run], run: _Run) -> bool:
        first = group[0]
        are_kin = first.is_mergeable and run.is_mergeable and first.home == run.home
        fits = self._size(first.start, run.end) <= self._sizes.target
        return are_kin and fits and self._are_near(group[-1], run)

    @staticmethod
    def _are_near(above: _Run, below: _Run) -> bool:
        return below.start - above.end - 1 <= _WIDEST_GAP

    def _joined(self, group: list[_Run]) -> _Run:
        first = group[0]
        if len(group) == 1:
            return first
        home = self._outline.regions[first.home]
        symbol = home.symbol
        wholes = [run.label for run in group if run.label.is_whole]
        if symbol is None and wholes and (len(wholes) == 1 or home.kind is ChunkKind.SECTION):
            symbol = wholes[0].symbol
        label = Region(home.kind, symbol, home.parent, home.first_row, is_whole=bool(wholes))
        return _Run(first.start, group[-1].end, first.home, label, is_mergeable=True)

    def _absorb_tiny(self, runs: Iterator[_Run]) -> list[_Run]:
        """Give a lonely line to what follows it, or else to what stands above."""
        done: list[_Run] = []
        waiting: _Run | None = None
        for run in runs:
            current = run
            if waiting is not None:
                if self._belongs_below(waiting, run):
                    current = _Run(waiting.start, run.end, run.home, run.label, run.is_mergeable)
                else:
                    self._append_above(done, waiting)
                waiting = None
            if self._is_tiny(current):
                waiting = current
            else:
                done.append(current)
        if waiting is not None:
            self._append_above(done, waiting)
        return done

    def _is_tiny(self, run: _Run) -> bool:
        if run.label.kind is ChunkKind.SECTION:
            return self._is_bare_heading(run)
        if run.label.joins:
            return self._is_below_tiny(run)
        first_row = self._outline.regions[run.home].first_row
        has_head = run.home != 0 and run.start <= first_row < run.end
        if run.label.is_whole or has_head:  # a head of one line says no more than its first method does
            return False
        return self._is_below_tiny(run)

    def _is_bare_heading(self, run: _Run) -> bool:
        """Whether nothing stands under a heading, which has up to three lines with its adornment."""
        rows = self._lines[run.start : run.end + 1]
        return len(rows) <= _HEADING_ROWS and all(map(str.strip, rows)) and self._is_below_tiny(run)

    def _is_below_tiny(self, run: _Run) -> bool:
        return self._size(run.start, run.end) < self._sizes.tiny

    def _belongs_below(self, tiny: _Run, below: _Run) -> bool:
        is_neighbour = below.home == tiny.home or self._outline.regions[below.home].parent == tiny.home
        fits = self._size(tiny.start, below.end) <= self._sizes.longest
        return is_neighbour and fits and self._are_near(tiny, below)

    def _append_above(self, done: list[_Run], tiny: _Run) -> None:
        if not done or not self._are_near(done[-1], tiny):
            done.append(tiny)
            return
        above = done[-1]
        done[-1] = _Run(above.start, tiny.end, above.home, above.label, above.is_mergeable)

    # --- Cutting --------------------------------------------------------------------------------

    def _pieces(self, run: _Run) -> Iterator[tuple[int, int]]:
        """Cut a run that is too long into pieces of about equal size, each without blank edges."""
        start = run.start
        while (size := self._size(start, run.end)) > self._sizes.longest and start < run.end:
            ideal = size / -(-size // self._sizes.target)
            cut = self._best_cut(start, run.end, ideal)
            yield self._trimmed(start, cut - 1)
            start = self._next_filled(cut)
        yield start, run.end

    def _best_cut(self, start: int, end: int, ideal: float) -> int:
        """Return the row at which the next piece begins.

        Between half and five quarters of the ideal, unless a single line is longer than that.
        """
        origin = self._before[start]
        first = bisect_left(self._before, origin + ideal / 2, start + 1, end)
        last = bisect_right(self._before, origin + ideal * 1.25, first, end + 1)
        if self._size(start, first - 1) > self._sizes.longest and first - 1 > start:
            return first - 1  # before the long line that alone makes this piece too long
        rows = [row for row in range(first, last) if self._lines[row].strip()] or [first]
        return min(rows, key=lambda row: (*self._price(row), abs(self._before[row] - origin - ideal)))

    def _price(self, row: int) -> tuple[int, bool, int, bool]:
        """Return what a cut before this row costs: the depth of the syntax, then the look of the page."""
        line = self._lines[row].expandtabs(_TAB_COLUMNS)
        body = line.lstrip()
        is_closing = body.startswith(_CLOSING)
        has_gap = not self._lines[row - 1].strip()
        depth = self._outline.cut_depths.get(row, _UNKNOWN_DEPTH)
        return depth, is_closing, len(line) - len(body), not has_gap

    def _trimmed(self, start: int, end: int) -> tuple[int, int]:
        while end > start and not self._lines[end].strip():
            end -= 1
        return start, end

    def _next_filled(self, row: int) -> int:
        while not self._lines[row].strip():
            row += 1
        return row


def _members(regions: Sequence[Region]) -> dict[int, list[ContextLine]]:
    """Return the first line of each member of each class, by the class."""
    members: defaultdict[int, list[ContextLine]] = defaultdict(list)
    for region in regions[1:]:
        if regions[region.parent].kind is ChunkKind.CLASS:
            members[region.parent].extend(region.head[:1])
    return members
