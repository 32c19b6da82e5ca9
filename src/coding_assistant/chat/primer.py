"""What a model is told of a project before the first question: what it is, its main files, what they define.

The same inputs give the same text, so that the front of the prompt is read once. Where the README and the
files come from is not known here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from coding_assistant.chat.sources import CHARACTERS_PER_TOKEN, numbered_lines, one_line
from coding_assistant.domain import Chunk, ContextLine

MOST_PRIMER_TOKENS: Final = 1_500
"""What a new conversation is told at most. It costs no waiting time: a snapshot of it is restored."""

README_SHARE: Final = 0.4
"""At most so much of the primer is the README; the rest is for the files."""

LONGEST_LINE_CHARACTERS: Final = 200
MOST_SYMBOLS: Final = 6

HEADING: Final = "What the project is made of, for orientation; sources to cite stand before the questions."

# Two empty lines between the parts.
_JOINTS: Final = 4

# Of a line of a README, markup included.
_LONGEST_READ: Final = 1_000

# Pictures, badges and tags say nothing to a model that reads text.
_MARKUP = re.compile(
    r"\[?!\[[^\]]*\]\([^)]*\)(?:\]\([^)]*\))?|<[^>]*>|\[!\[.*|^\s*(?:\[[^\]]+\]:\s*\S+|[=~*-]{3,}\s*$)"
)
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class MainFile:
    """A file that matters, and the names of the largest things that it defines."""

    path: PurePosixPath
    symbols: tuple[str, ...] = ()


def main_symbols(chunks: Sequence[Chunk], *, limit: int = MOST_SYMBOLS) -> tuple[str, ...]:
    """Return the names of a file's largest definitions, in its order; members count to their class."""
    sizes: Counter[str] = Counter()
    for chunk in chunks:
        name = _NAME.match(chunk.symbol or "")
        if name:
            sizes[name.group()] += len(chunk.text)
    largest = {name for name, _ in sizes.most_common(limit)}
    return tuple(name for name in sizes if name in largest)


def primer(
    readme: Sequence[Chunk], files: Sequence[MainFile], *, most_tokens: int = MOST_PRIMER_TOKENS
) -> str:
    """Return the text, of at most about so many tokens; empty if there is nothing to tell.

    ``files`` come the most important first; those that have room are shown in the order of their paths. Every
    line stands behind its number or its path, so that none can pass for anything but a project's text.
    """
    characters = int(most_tokens * CHARACTERS_PER_TOKEN) - len(HEADING) - _JOINTS
    about = _within(_readme_lines(readme), int(characters * README_SHARE))
    left = characters - sum(len(line) + 1 for line in about)
    chosen = _within([_file_line(file) for file in files], left)
    parts = ["\n".join(about), "\n".join(sorted(chosen))]
    text = "\n\n".join(part for part in parts if part)
    return f"{HEADING}\n\n{text}" if text else ""


def _readme_lines(chunks: Sequence[Chunk]) -> Iterator[str]:
    lines = [
        ContextLine(number, one_line(_MARKUP.sub("", line[:_LONGEST_READ])).strip())
        for chunk in chunks
        for number, line in enumerate(chunk.text.split("\n"), start=chunk.start_line)
    ]
    lines = [line for line in lines if any(map(str.isalnum, line.text))]
    if lines:
        yield f"{one_line(str(chunks[0].path))}:{lines[0].line}-{lines[-1].line}"
        yield from (line for line in numbered_lines(lines) if line != "…")


def _file_line(file: MainFile) -> str:
    names = ", ".join(map(one_line, file.symbols))
    return one_line(str(file.path)) + (f": {names}" if names else "")


def _within(lines: Iterable[str], characters: int) -> list[str]:
    """Return the first lines that fit, each cut to its longest length."""
    kept: list[str] = []
    for line in lines:
        shown = line if len(line) <= LONGEST_LINE_CHARACTERS else f"{line[: LONGEST_LINE_CHARACTERS - 1]}…"
        characters -= len(shown) + 1
        if characters < 0:
            break
        kept.append(shown)
    return kept
