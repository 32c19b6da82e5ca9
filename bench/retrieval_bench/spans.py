"""Spans: the runs of lines that every adapter answers with, and what of them fits a budget."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

CHARACTERS_PER_TOKEN = 3.5


@dataclass(frozen=True, slots=True)
class Span:
    """A run of whole lines of a file, 1-based and inclusive.

    ``text`` is all that a reader is shown for it, its path apart: lines from elsewhere in the file that say
    where it stands are part of the price, though no part of the run.
    """

    path: PurePosixPath
    start_line: int
    end_line: int
    text: str


def one_per_file(spans: Iterable[Span]) -> list[Span]:
    """Return the first span of each file."""
    first: dict[PurePosixPath, Span] = {}
    for span in spans:
        first.setdefault(span.path, span)
    return list(first.values())


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens of sources there is room for, and how many characters count as one."""

    tokens: int
    characters_per_token: float = CHARACTERS_PER_TOKEN

    def cost(self, span: Span) -> float:
        """Return the tokens that a span takes."""
        return len(span.text) / self.characters_per_token


def within(spans: Iterable[Span], budget: Budget) -> list[Span]:
    """Return the spans that are shown when every one that still fits is taken in turn.

    Tokens are counted in one way for all adapters, by the length of what is shown, so none gains by its
    tokenizer.
    """
    left = float(budget.tokens)
    shown = []
    for span in spans:
        if (cost := budget.cost(span)) <= left:
            left -= cost
            shown.append(span)
    return shown
