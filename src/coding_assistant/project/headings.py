"""Outlines prose by its headings: Markdown and reStructuredText.

A section's symbol is the path of headings to it, ``Guide > Install``, so that a section called "Use" is
found by what it is the use of. Only headings are understood here, no other syntax.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from coding_assistant.domain import ChunkKind
from coding_assistant.project.heads import head_lines
from coding_assistant.project.outline import Outline, Region, file_region

_DEEPEST_HEADING = 6  # Markdown has no seventh
_WIDEST_INDENT = 3  # further in, Markdown sees code
_LONGEST_TITLE = 120
_SHORTEST_UNDERLINE = 3  # of reStructuredText; shorter ones are too often something else
_ADORNMENTS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: the row it starts in, its level from 1, its title and the row of that.

    The two rows differ where a line of adornment stands above the title.
    """

    row: int
    level: int
    title: str
    title_row: int


def heading_outline(language: str, lines: Sequence[str]) -> Outline:
    """Return one region per heading; what stands before the first belongs to the file."""
    headings = rst_headings(lines) if language == "rst" else markdown_headings(lines)
    regions = [file_region(ChunkKind.SECTION)]
    owners = [0] * len(lines)
    path: list[tuple[Heading, Region]] = []
    for heading in headings:
        path = [(outer, region) for outer, region in path if outer.level < heading.level]
        titles = [*(outer.title for outer, _ in path), heading.title]
        symbol = " > ".join(filter(None, titles)) or None
        around = path[-1][1].context if path else ()
        head = head_lines(lines, heading.title_row, heading.title_row)
        region = Region(ChunkKind.SECTION, symbol, 0, heading.row, is_whole=True, around=around, head=head)
        owners[heading.row :] = [len(regions)] * (len(lines) - heading.row)
        path.append((heading, region))
        regions.append(region)
    return Outline(regions, owners, {})


def markdown_headings(lines: Sequence[str]) -> list[Heading]:
    """Return the headings outside fenced code and front matter, of both kinds."""
    headings: list[Heading] = []
    fence = ""
    for row in range(_front_matter_end(lines), len(lines)):
        line = lines[row].strip()
        if fence:
            if line.startswith(fence) and not line.strip(fence[0]):
                fence = ""
            continue
        if line.startswith(("```", "~~~")):
            fence = line[: len(line) - len(line.lstrip(line[0]))]
            continue
        heading = _hash_heading(lines[row], row) or _underlined_heading(lines, row)
        if heading is not None:
            headings.append(heading)
    return headings


def _front_matter_end(lines: Sequence[str]) -> int:
    """Return the first row after the metadata between two lines of ``---`` that opens many a file."""
    if lines and lines[0].rstrip() == "---":
        for row in range(1, len(lines)):
            if lines[row].rstrip() in ("---", "..."):
                return row + 1
    return 0


def _hash_heading(line: str, row: int) -> Heading | None:
    if len(line) - len(line.lstrip(" ")) > _WIDEST_INDENT:
        return None
    body = line.strip()
    level = len(body) - len(body.lstrip("#"))
    rest = body[level:]
    if not 1 <= level <= _DEEPEST_HEADING or (rest and not rest[0].isspace()):
        return None
    return Heading(row, level, rest.strip().rstrip("#").rstrip()[:_LONGEST_TITLE], row)


def _underlined_heading(lines: Sequence[str], row: int) -> Heading | None:
    """Return the heading whose title is this row, with ``===`` or ``---`` below it."""
    title = lines[row].strip()
    if not title or row + 1 >= len(lines) or title.startswith((">", "|", "- ", "* ", "+ ", "#", "<")):
        return None
    if row and lines[row - 1].strip():  # a paragraph's last line: most often a list or a table, not a title
        return None
    underline = lines[row + 1].rstrip()
    if underline and underline[0] in "=-" and not underline.strip(underline[0]):
        return Heading(row, 1 if underline[0] == "=" else 2, title[:_LONGEST_TITLE], row)
    return None


def rst_headings(lines: Sequence[str]) -> list[Heading]:
    """Return the titles with a line below, or a line above and below; levels go by first appearance."""
    headings: list[Heading] = []
    styles: list[str] = []
    row = 0
    while row + 1 < len(lines):
        title, underline = lines[row], _adornment(lines[row + 1])
        has_overline = bool(row and underline and _adornment(lines[row - 1]) == underline)
        is_title = bool(title.strip()) and not _adornment(title) and (has_overline or not title[0].isspace())
        if underline is None or not is_title or len(underline) < len(title.rstrip()):
            row += 1
            continue
        style = underline[0] * (2 if has_overline else 1)
        if style not in styles:
            styles.append(style)
        level = styles.index(style) + 1
        headings.append(Heading(row - has_overline, level, title.strip()[:_LONGEST_TITLE], row))
        row += 2
    return headings


def _adornment(line: str) -> str | None:
    """Return the line if it is one punctuation character over and over."""
    line = line.rstrip()
    if len(line) >= _SHORTEST_UNDERLINE and line[0] in _ADORNMENTS and not line.strip(line[0]):
        return line
    return None
