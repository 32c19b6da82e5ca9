"""Reads the places in code that a question names: a pasted stack trace, a compiler's message, a file's path.

Whoever pastes a trace has named the very lines. It knows nothing of which files exist.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

MOST_LOCATIONS = 20
"""Of a trace of a thousand frames, the first so many: each costs a look into the index."""

_BETWEEN = re.compile(r"[\s\"'`()\[\]{}<>,;]+")
_LONGEST_WORD_CHARACTERS = 300
_FILE = re.compile(
    r"(?:[A-Za-z]:(?=[/\\]))?"  # a drive
    r"(?P<path>[^:\ud800-\udfff]*\.[A-Za-z]\w{0,9})"  # half a character is in no path of an index
    r"(?::(?P<line>\d{1,8}))?(?::\d{1,8})?(?:(?P<line_follows>:line)|:in)?[:.]?"  # Ruby: "x.rb:3:in `f'"
)
_NUMBER = re.compile(r"\d{1,8}")


@dataclass(frozen=True, slots=True)
class NamedLocation:
    """A file as a question names it, perhaps with folders that the project lacks; and a line, from 1."""

    path: PurePosixPath
    line: int | None = None

    def shared_parts(self, path: PurePosixPath) -> int:
        """Return how many last parts of a file's path are as named: 0 for a file of another name."""
        shared = 0
        for mine, other in zip(reversed(self.path.parts), reversed(path.parts), strict=False):
            if mine != other:
                break
            shared += 1
        return shared


# Python and, where it says so, others put the line that failed last.
_INNERMOST_LAST = re.compile(r"most recent call last", re.IGNORECASE)


def named_locations(text: str) -> tuple[NamedLocation, ...]:
    """Return what looks like files in a text, each with its line where one is given.

    Those with a line come first, of a stack trace from the line that failed outwards; then the others, in the
    text's order.
    """
    found = list(dict.fromkeys(_locations(_BETWEEN.split(text))))
    lined = [location for location in found if location.line is not None]
    if _INNERMOST_LAST.search(text):
        lined.reverse()
    return (*lined, *(location for location in found if location.line is None))[:MOST_LOCATIONS]


def _locations(words: Sequence[str]) -> Iterator[NamedLocation]:
    for position, word in enumerate(words):
        match = _FILE.fullmatch(word) if len(word) <= _LONGEST_WORD_CHARACTERS else None
        if match:
            line = match["line"] or _line_after(words, position, is_next=bool(match["line_follows"]))
            path = PurePosixPath(match["path"].replace("\\", "/"))
            yield NamedLocation(path, int(line) if line and int(line) else None)


def _line_after(words: Sequence[str], position: int, *, is_next: bool) -> str | None:
    """Return the number in ``x.cs:line 12``, in ``"x.py", line 12`` or in ``x.php on line 12``."""
    following = list(words[position + 1 : position + 4])
    if not is_next and following[:1] == ["on"]:
        del following[0]
    if not is_next and following[:1] != ["line"]:
        return None
    number = following[0 if is_next else 1 :][:1]
    return number[0] if number and _NUMBER.fullmatch(number[0]) else None
