"""Code in an answer as a change of the project: which lines of which file it would replace, as a diff.

A block of code is placed by the definitions that it holds, for those have names; without any, by the lines
that it shares with a file. What cannot be placed beyond doubt is not: the reason is told instead. Nothing
here reads or writes a file.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import dropwhile, pairwise, takewhile
from pathlib import PurePosixPath
from typing import Final

from coding_assistant.chat.code_blocks import (
    CodeBlock,
    Definition,
    code_blocks,
    definitions,
    indent_of,
    outermost,
)
from coding_assistant.domain import ProposedEdits, Source, SourceOrigin
from coding_assistant.project.notebooks import NOTEBOOK_SUFFIX
from coding_assistant.project.secrets import REDACTED

CONTEXT_LINES: Final = 3
"""Around a change, as git has it."""

LEAST_SHARED: Final = 0.5
"""Of a block without definitions, the lines that must stand in the file: with fewer it is other code."""

MOST_LINES: Final = 2_000
"""Of a block: comparing takes a time that grows with the square, and no model here writes as much."""

NO_NEWLINE: Final = "\\ No newline at end of file\n"

_LONGEST_QUOTED_CHARACTERS = 80
_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\t": "\\t"})


@dataclass(frozen=True, slots=True)
class _File:
    """The lines of a file, or of a part of it, and the ranges of them, by index, that the model was shown."""

    path: PurePosixPath
    lines: Sequence[str]
    shown: Sequence[range]

    def part(self, start: int, end: int) -> "_File":
        shown = [range(each.start - start, each.stop - start) for each in self.shown]
        return _File(self.path, self.lines[start:end], shown)


@dataclass(frozen=True, slots=True)
class _Replacement:
    """The lines from ``start`` to before ``end`` become these."""

    start: int
    end: int
    lines: Sequence[str]


class _CannotBePlaced(Exception):
    """Where a block belongs is not certain; the message is the rest of a sentence that the block begins."""


def proposed_edits(
    answer: str, sources: Sequence[Source], current: Mapping[PurePosixPath, str | None]
) -> ProposedEdits:
    """Return the answer's code as a unified diff of today's files, and why other code of it is in no diff.

    ``current`` holds the text of the sources' files as the walk reads it now.
    """
    shown = {source.chunk.path for source in sources if source.origin is not SourceOrigin.GIVEN}
    before = {
        path: text
        for path in sorted(shown)
        if (text := current.get(path)) is not None and path.suffix != NOTEBOOK_SUFFIX
    }
    after = dict(before)
    unplaced = []
    for number, block in enumerate(code_blocks(answer, sources), start=1):
        try:
            path, text = _edited(block, after, sources)
            _require_no_secret(before[path], text)
            after[path] = text
        except _CannotBePlaced as reason:
            unplaced.append(f"Code block {number} {reason}.")
    diff = "".join(unified_diff(path, text, after[path]) for path, text in before.items())
    return ProposedEdits(diff, tuple(unplaced))


def unified_diff(path: PurePosixPath, before: str, after: str) -> str:
    """Return what ``git apply`` makes ``after`` of ``before`` with; empty if they are equal."""
    old, new = _lines_with_ends(before), _lines_with_ends(after)
    hunks = _hunks(old, new)
    if not hunks:
        return ""
    names = [_name(f"a/{path}"), _name(f"b/{path}")]
    tabs = ["\t" if " " in name else "" for name in names]  # a name with blanks in it ends at a tab
    out = [
        f"diff --git {names[0]} {names[1]}\n",
        f"--- {names[0]}{tabs[0]}\n",
        f"+++ {names[1]}{tabs[1]}\n",
    ]
    for hunk in hunks:
        old_lines, new_lines = _spans(hunk, len(old))
        out.append(f"@@ -{_range(old_lines)} +{_range(new_lines)} @@\n")
        at = old_lines.start
        for change in hunk:
            out += [_diff_line(" ", line) for line in old[at : change.old.start]]
            out += [_diff_line("-", line) for line in old[change.old.start : change.old.stop]]
            out += [_diff_line("+", line) for line in new[change.new.start : change.new.stop]]
            at = change.old.stop
        out += [_diff_line(" ", line) for line in old[at : old_lines.stop]]
    return "".join(out)


# --- Placing ----------------------------------------------------------------------------------


def _edited(
    block: CodeBlock, texts: Mapping[PurePosixPath, str], sources: Sequence[Source]
) -> tuple[PurePosixPath, str]:
    """Return the one file that the block rewrites a part of, and its text then."""
    lines = _trimmed(block.text.split("\n"))
    if not lines:
        raise _CannotBePlaced("is empty")
    if not block.is_complete:
        raise _CannotBePlaced("leaves lines out, and so would the file")
    if len(lines) > MOST_LINES:
        raise _CannotBePlaced(f"has more than {MOST_LINES:,} lines")
    if block.path and block.path not in texts:
        raise _CannotBePlaced(f"is for {block.path}, of which nothing was shown that can be edited")
    placed: dict[PurePosixPath, str] = {}
    reasons: list[str] = []
    for path in [block.path] if block.path else texts:
        try:
            placed[path] = _rewritten(texts[path], lines, path, sources)
        except _CannotBePlaced as reason:
            reasons.append(str(reason))
    if len(placed) > 1:
        raise _CannotBePlaced(f"could stand in {' or in '.join(map(str, placed))}")
    if not placed:
        raise _CannotBePlaced(reasons[0] if len(reasons) == 1 else "rewrites none of the sources")
    return next(iter(placed.items()))


def _rewritten(text: str, block: Sequence[str], path: PurePosixPath, sources: Sequence[Source]) -> str:
    """Return the file's text with the block in the place of what it rewrites."""
    lines = text.split("\n")
    line_end = "\r" if lines[0].endswith("\r") else ""
    chunks = [source.chunk for source in sources if source.chunk.path == path]
    shown = [range(chunk.start_line - 1, chunk.end_line) for chunk in chunks]
    file = _File(path, [line.removesuffix("\r") for line in lines], shown)
    wanted = outermost(definitions(block))
    if wanted:
        _require_known(block, wanted, file)
        replacements = [each for one in wanted for each in _replacing(one, block, file)]
    else:
        replacements = [_by_lines(block, file)]
    new = list(lines)
    for each in _from_the_end(replacements):
        end = "" if each.end == len(lines) else line_end  # the last line has no line feed to stand before
        ends = [*[line_end] * (len(each.lines) - 1), end]
        new[each.start : each.end] = [f"{line}{end}" for line, end in zip(each.lines, ends, strict=True)]
    if new == lines:
        raise _CannotBePlaced(f"says what {path} says already")
    return "\n".join(new)


def _from_the_end(replacements: Iterable[_Replacement]) -> list[_Replacement]:
    """Return the replacements so that each leaves the places of the next ones as they are."""
    ordered = sorted(replacements, key=lambda each: -each.start)
    for below, above in pairwise(ordered):
        if above.end > below.start:
            raise _CannotBePlaced("says two things of the same lines")
    return ordered


def _replacing(wanted: Definition, block: Sequence[str], file: _File) -> list[_Replacement]:
    """Return what replaces the file's definition of that name.

    A class that comes with some of its methods only stands for those.
    """
    target = _target(wanted.name, file)
    inner = [each for each in definitions(block) if wanted.holds(each) and _is_within(each, wanted)]
    inside = [each for each in definitions(file.lines) if target.holds(each)]
    lost = {each.name for each in inside} - {each.name for each in inner}
    if not lost:
        start = target.start if wanted.start < wanted.head else target.head
        own = _shifted(block[wanted.start : wanted.end], wanted.indent, target.indent)
        return [_Replacement(start, target.end, own)]
    if not inner:
        raise _CannotBePlaced(f"defines {wanted.name} without {', '.join(sorted(lost))}")
    outer = outermost(inner)
    body = block[wanted.start : wanted.end]
    _require_known(body, [_moved(each, -wanted.start) for each in outer], file)
    scope = file.part(target.start, target.end)
    found = [each for one in outer for each in _replacing(one, block, scope)]
    return [replace(each, start=each.start + target.start, end=each.end + target.start) for each in found]


def _is_within(definition: Definition, outer: Definition) -> bool:
    return outer.start <= definition.start < outer.end


def _target(name: str, file: _File) -> Definition:
    """Return the file's one definition of the name; of several, the one that the model was shown."""
    same = [each for each in definitions(file.lines) if each.name == name]
    if not same:
        raise _CannotBePlaced(f"defines {name}, which {file.path} does not")
    if len(same) > 1:
        same = [each for each in same if any(each.head in lines for lines in file.shown)]
    if len(same) != 1:
        raise _CannotBePlaced(f"defines {name}, and {file.path} has several of that name")
    return same[0]


def _require_known(block: Sequence[str], inside: Sequence[Definition], file: _File) -> None:
    """Refuse a block with lines outside of definitions that the file has not: where they go is not said."""
    covered = {index for each in inside for index in range(each.start, each.end)}
    known = {line.strip() for line in file.lines}
    for index, line in enumerate(block):
        if index not in covered and line.strip() and line.strip() not in known:
            shown = line.strip()[:_LONGEST_QUOTED_CHARACTERS]
            raise _CannotBePlaced(f"also has the line `{shown}`, which stands nowhere in {file.path}")


def _by_lines(block: Sequence[str], file: _File) -> _Replacement:
    """Return what replaces the lines that begin and end as the block does, if it shares enough with them."""
    wanted = [line.strip() for line in block]
    have = [line.strip() for line in file.lines]
    starts = [index for index, line in enumerate(have) if line == wanted[0]]
    found = [(start, end) for start in starts if (end := _end_like(have, wanted, start))]
    if len(found) != 1:
        why = "could stand in several places of" if found else "shares no run of lines with"
        raise _CannotBePlaced(f"{why} {file.path}")
    start, end = found[0]
    return _Replacement(start, end, _shifted(block, indent_of(block[0]), indent_of(file.lines[start])))


def _end_like(have: Sequence[str], wanted: Sequence[str], start: int) -> int | None:
    """Return the end of the lines from ``start`` on that end as wanted and share most lines with it."""
    wanted_lines = Counter(filter(None, wanted))
    ends = [
        end
        for end in range(start + 1, min(len(have), start + 2 * len(wanted)) + 1)
        if have[end - 1] == wanted[-1]
    ]
    shared = {end: (Counter(have[start:end]) & wanted_lines).total() for end in ends}
    best = max(ends, key=lambda end: (shared[end], -end), default=None)
    least = max(LEAST_SHARED * wanted_lines.total(), min(2, len(wanted)))
    return best if best is not None and shared[best] >= least else None


def _moved(definition: Definition, by: int) -> Definition:
    return replace(
        definition, start=definition.start + by, head=definition.head + by, end=definition.end + by
    )


def _shifted(lines: Sequence[str], old: str, new: str) -> list[str]:
    """Return the lines indented as the place wants them; blank lines are left empty."""
    return [f"{new}{line.removeprefix(old)}" if line.strip() else "" for line in lines]


def _trimmed(lines: Sequence[str]) -> list[str]:
    """Return the lines without the blank ones around them, and without carriage returns."""
    kept = [line.rstrip("\r") for line in lines]
    for _ in range(2):
        kept = list(dropwhile(lambda line: not line.strip(), kept))[::-1]
    return kept


# --- Diffs ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Change:
    """Lines, by index, and what stands in their place."""

    old: range
    new: range


def _require_no_secret(before: str, after: str) -> None:
    """Refuse a change beside a line whose secret was redacted: the file itself has another line there."""
    old, new = _lines_with_ends(before), _lines_with_ends(after)
    for hunk in _hunks(old, new):
        old_lines, new_lines = _spans(hunk, len(old))
        beside = (*old[old_lines.start : old_lines.stop], *new[new_lines.start : new_lines.stop])
        if any(REDACTED in line for line in beside):
            raise _CannotBePlaced("changes lines beside a secret that is hidden from the assistant")


def _hunks(old: Sequence[str], new: Sequence[str]) -> list[list[_Change]]:
    """Return the changes, those together whose surrounding lines touch.

    What the texts begin and end with alike is not compared: a file may have 20,000 lines.
    """
    first = _shared_length(old, new)
    last = _shared_length(old[first:][::-1], new[first:][::-1])
    matcher = SequenceMatcher(None, old[first : len(old) - last], new[first : len(new) - last])
    hunks: list[list[_Change]] = []
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        change = _Change(range(old_start + first, old_end + first), range(new_start + first, new_end + first))
        if hunks and change.old.start - hunks[-1][-1].old.stop <= 2 * CONTEXT_LINES:
            hunks[-1].append(change)
        else:
            hunks.append([change])
    return hunks


def _spans(hunk: Sequence[_Change], length: int) -> tuple[range, range]:
    """Return the lines of a hunk with those around it, in a text of so many lines and in the new one."""
    before = min(CONTEXT_LINES, hunk[0].old.start)
    behind = min(CONTEXT_LINES, length - hunk[-1].old.stop)
    return (
        range(hunk[0].old.start - before, hunk[-1].old.stop + behind),
        range(hunk[0].new.start - before, hunk[-1].new.stop + behind),
    )


def _shared_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many lines both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _lines_with_ends(text: str) -> list[str]:
    *whole, last = text.split("\n")
    return [*(f"{line}\n" for line in whole), *([last] if last else [])]


def _diff_line(mark: str, line: str) -> str:
    return f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n{NO_NEWLINE}"


def _range(lines: range) -> str:
    """Return lines as a hunk names them: an empty run by the line before it."""
    return f"{lines.start + 1 if lines else lines.start},{len(lines)}"


def _name(path: str) -> str:
    """Return a path as git writes it: quoted where it holds what could end it."""
    escaped = path.translate(_ESCAPES)
    return path if escaped == path else f'"{escaped}"'
