"""Decides what a project's ignore files hide: git's rules, without git and without its patterns' traps.

Running git in a stranger's folder runs what that folder's configuration names (``core.fsmonitor``), so
the rules are applied here. pathspec 1.1 was tried: its expressions take 10 s for ``*a*a*a*a*a*a*a*b`` on a
name of 60 letters, eight times as long for each ``*a`` more, and ``folder/**`` hides the folder itself, so
that ``!folder/keep`` finds nothing left to keep. Here each segment of a path is matched alone, in linear
time.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

# The first is git's; the second is ours, has the last word of the two, and so can bring back with ``!``
# what git does not want to see but a reader of the code does.
IGNORE_FILE_NAMES = (".gitignore", ".assistantignore")

_ANY_DEPTH = "**"
_POSIX_CLASSES = MappingProxyType(
    {
        "alnum": "a-zA-Z0-9",
        "alpha": "a-zA-Z",
        "blank": r" \t",
        "cntrl": r"\x00-\x1f\x7f",
        "digit": "0-9",
        "graph": r"\x21-\x7e",
        "lower": "a-z",
        "print": r"\x20-\x7e",
        "punct": r"!-/:-@\[-`{-~",
        "space": r" \t\n\r\f\v",
        "upper": "A-Z",
        "xdigit": "0-9a-fA-F",
    }
)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One line of an ignore file. ``segments`` hold None for ``**``; ``is_floating``: at any depth."""

    segments: tuple[re.Pattern[str] | None, ...]
    is_floating: bool
    is_for_folders: bool
    hides: bool

    def names(self, path: Sequence[str], *, is_folder: bool) -> bool:
        """Whether the pattern names this very path; what lies in a folder is settled at the folder."""
        if self.is_for_folders and not is_folder:
            return False
        if self.is_floating:
            segment = self.segments[0]
            return segment is None or segment.fullmatch(path[-1]) is not None
        return self._matches(path)

    def _matches(self, path: Sequence[str]) -> bool:
        """Match segment by segment; ``reached`` holds how many names the pattern so far can have used."""
        reached = {0}
        for index, segment in enumerate(self.segments):
            if segment is not None:
                reached = {at + 1 for at in reached if at < len(path) and segment.fullmatch(path[at])}
            else:
                is_last = index == len(self.segments) - 1
                reached = set(range(min(reached, default=len(path)) + is_last, len(path) + 1))
            if not reached:
                return False
        return len(path) in reached


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The patterns of one ignore file, for the paths below its folder; ``depth`` is the folder's."""

    depth: int
    patterns: tuple[_Pattern, ...]

    def verdict(self, path: Sequence[str], *, is_folder: bool) -> bool | None:
        """Return whether these rules hide the path, or None if they say nothing of it. The last line wins."""
        inside = path[self.depth :]
        for pattern in reversed(self.patterns):
            if pattern.names(inside, is_folder=is_folder):
                return pattern.hides
        return None


def parse_rules(text: str, *, depth: int) -> IgnoreRules:
    """Return the rules of an ignore file whose folder is ``depth`` levels below the root.

    A line that makes no valid pattern hides nothing, as in git.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    patterns = (_parse_line(line.removesuffix("\r")) for line in lines)
    return IgnoreRules(depth, tuple(pattern for pattern in patterns if pattern is not None))


def is_ignored(rules: Iterable[IgnoreRules], path: Sequence[str], *, is_folder: bool) -> bool:
    """Whether the rules, from the weakest to the strongest, hide the path, given as its names from the root.

    The path's folders are taken to be visible: in a hidden folder everything is hidden, whatever is said.
    """
    verdicts = (each.verdict(path, is_folder=is_folder) for each in reversed(tuple(rules)))
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _parse_line(line: str) -> _Pattern | None:
    if line.startswith("#"):
        return None
    body = _without_trailing_spaces(line)
    hides = not body.startswith("!")
    body = body.removeprefix("!")
    is_for_folders = body.endswith("/")
    body = body.removesuffix("/")
    if not body:
        return None
    is_floating = "/" not in body
    words = body.removeprefix("/").split("/")
    try:
        segments = tuple(None if word == _ANY_DEPTH else _compile_segment(word) for word in words)
    except ValueError:
        return None
    return _Pattern(segments, is_floating, is_for_folders, hides)


def _without_trailing_spaces(line: str) -> str:
    body = line.rstrip(" ")
    backslashes = len(body) - len(body.rstrip("\\"))
    return f"{body} " if backslashes % 2 and len(body) < len(line) else body


def _compile_segment(word: str) -> re.Pattern[str]:
    """Return the expression of one segment; ValueError for what git takes as no pattern.

    Between two stars the first place that fits is as good as any later one, so what a star took is never
    given back (the atomic groups), and matching is linear.
    """
    parts = [""]
    at = 0
    while at < len(word):
        character = word[at]
        if character == "*":
            parts.append("")
            at += 1
        elif character == "[":
            expression, at = _bracket(word, at + 1)
            parts[-1] += expression
        elif character == "?":
            parts[-1] += "."
            at += 1
        else:
            at += character == "\\"
            if at >= len(word):
                raise ValueError(word)
            parts[-1] += re.escape(word[at])
            at += 1
    first, *others = parts
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    atoms = "".join(f"(?>.*?{part})" for part in middle if part)
    return re.compile(f"{first}{atoms}.*{last}", re.DOTALL)


def _bracket(word: str, at: int) -> tuple[str, int]:
    """Return the expression of ``[…]`` and where it ends; ``at`` is after the opening bracket."""
    is_negated = word[at : at + 1] in ("!", "^")
    at += is_negated
    items: list[str] = []
    is_first = True
    while is_first or word[at : at + 1] != "]":
        is_first = False
        if word.startswith("[:", at):
            name, end = word[at + 2 :].partition(":]")[0], word.find(":]", at)
            if end < 0 or name not in _POSIX_CLASSES:
                raise ValueError(word)
            items.append(_POSIX_CLASSES[name])
            at = end + 2
            continue
        low, at = _bracket_character(word, at)
        high = low
        if word[at : at + 1] == "-" and word[at + 1 : at + 2] not in ("", "]"):
            high, at = _bracket_character(word, at + 1)
        if low <= high:
            items.append(f"{re.escape(low)}-{re.escape(high)}")
    if not items:
        return ("." if is_negated else "(?!)"), at + 1
    return f"[{'^' if is_negated else ''}{''.join(items)}]", at + 1


def _bracket_character(word: str, at: int) -> tuple[str, int]:
    at += word[at : at + 1] == "\\"
    if at >= len(word):
        raise ValueError(word)
    return word[at], at + 1
