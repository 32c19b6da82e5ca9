"""Searching on from what was found: a round searches again with the names that stand there.

A question about what happens on the way from one place to another shares its words with the first of them;
the next one is called there by its name. So the usual search ends with one such round, and a deep one has up
to three, each from all that was found before. No model is asked. How a source is numbered is not known here.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final, Protocol, TypeAlias

from coding_assistant.chat.query import SearchText
from coding_assistant.chat.sources import estimated_tokens
from coding_assistant.domain import Chunk, Hit, SearchedDeeper
from coding_assistant.index.overview import overview_asked
from coding_assistant.index.uses import uses_asked
from coding_assistant.terms import code_names

MOST_HITS: Final = 60
"""More excerpts than this never fit into a source budget that a laptop reads with patience."""

NEIGHBOURHOOD_SHARE: Final = 0.5
"""Of a source budget, for what the names in the best sources lead to. With .33, .4, .5 and .6 left to the
best sources, 1,000 tokens hold .42, .42, .43 and .38 of all gold spans, 2,000 hold .54, .55, .55 and .56
(docs/retrieval-log.md, "Further rounds")."""

MOST_ROUNDS: Final = 3
"""When a deep search is asked for."""

DEEP_BUDGET_FACTOR: Final = 2
"""A deep search may show so many times as much: the usual budget first, and as much for its rounds."""

MOST_SECONDS: Final = 5.0
"""No round of a search begins after this time."""

MOST_NAMES: Final = 12
"""To search with in a round. Only those that the project defines elsewhere, looked up in its index, found
less ("Further rounds")."""

_FOR_ONE_PLACE = re.compile(
    r"\W*(?:where|(?:in )?which (?:piece of )?(?:code|file|function|method|class|script|module|line))\b",
    re.IGNORECASE,
)

OnRound: TypeAlias = Callable[[SearchedDeeper], None]


class SourceFinder(Protocol):
    """What a project's code can be searched by: ``ProjectCode``, and the benchmark's bare index."""

    async def find_sources(self, query: str, *, context: str = "", limit: int) -> list[Hit]:
        """Return chunks for a model to read, best first; words of ``context`` help to find, not to rank."""
        ...


@dataclass(frozen=True, slots=True)
class Reach:
    """How much code a question is shown, ``usual_tokens``, and how far it is searched for.

    A deep search tells each of its rounds to ``on_round``; without it the search is the usual one. ``cost``
    tells how many tokens a chunk takes.
    """

    usual_tokens: int
    on_round: OnRound | None = None
    cost: Callable[[Chunk], float] = estimated_tokens

    @property
    def tokens(self) -> int:
        """What all sources may take together."""
        return self.usual_tokens * DEEP_BUDGET_FACTOR if self.on_round else self.usual_tokens

    @property
    def rounds(self) -> int:
        """How many further rounds there may be."""
        return MOST_ROUNDS if self.on_round else 1

    @property
    def round_tokens(self) -> float:
        """What one round may add."""
        return self.tokens * NEIGHBOURHOOD_SHARE / self.rounds

    def within(self, usual_tokens: int) -> "Reach":
        """Return the same reach with another budget."""
        return replace(self, usual_tokens=usual_tokens)


def goes_on(search: SearchText, reach: Reach) -> bool:
    """Return whether there is to be any further round.

    Not the usual one for a question that leans on its conversation, whose names it is searched with already,
    nor for one that is answered from elsewhere: for all uses of a name, or about the project as a whole. Nor
    for one that asks for a single place: there the round found none more, and took its half of the budget.
    """
    if reach.on_round:
        return True
    question = search.question
    return not (
        search.context or _FOR_ONE_PLACE.match(question) or uses_asked(question) or overview_asked(question)
    )


async def find_hits(search: SearchText, code: SourceFinder, reach: Reach) -> list[Hit]:
    """Return what is found for a question, in the order in which it is to be shown."""
    hits = await code.find_sources(search.question, context=search.context, limit=MOST_HITS)
    return await searched_on(search, hits, code, reach) if goes_on(search, reach) else hits


async def searched_on(search: SearchText, hits: Sequence[Hit], code: SourceFinder, reach: Reach) -> list[Hit]:
    """Return the best hits, then what each round has found, then the other hits.

    A round that has no new name to search with, or finds nothing by them, is the last.
    """
    began = monotonic()
    shown = _Shown(reach.cost)
    shown.add(hits, tokens=reach.tokens * (1 - NEIGHBOURHOOD_SHARE))
    for number in range(1, reach.rounds + 1):
        names = names_in(shown.chunks)
        if not names or monotonic() - began > MOST_SECONDS:
            break
        context = " ".join(filter(None, (search.context, *names)))
        found = await code.find_sources(search.question, context=context, limit=MOST_HITS)
        added = shown.add(found, tokens=reach.round_tokens)
        if reach.on_round:
            reach.on_round(SearchedDeeper(number, tuple(names), added))
        if not added:
            break
    return [*shown.hits, *(hit for hit in hits if not shown.has_lines_of(hit))]


def deep_search_told(reach: Reach, rounds: Sequence[SearchedDeeper]) -> str:
    """Return what the receipt says of a deep search; empty where there was no further round."""
    if not rounds:
        return ""
    words = "1 further round" if len(rounds) == 1 else f"{len(rounds)} further rounds"
    return f"{words}, up to {reach.tokens:,} tokens of sources where {reach.usual_tokens:,} are usual"


def names_in(chunks: Iterable[Chunk]) -> list[str]:
    """Return the names that are written as only code writes them, those in most chunks first."""
    counts = Counter(name for chunk in chunks for name in code_names(chunk.text))
    return [name for name, _ in counts.most_common(MOST_NAMES)]


@dataclass(slots=True)
class _Shown:
    """What has been found and fits, in the order in which it is to be read."""

    cost: Callable[[Chunk], float]
    hits: list[Hit] = field(default_factory=list)

    @property
    def chunks(self) -> list[Chunk]:
        return [hit.chunk for hit in self.hits]

    def add(self, hits: Sequence[Hit], *, tokens: float) -> int:
        """Take the hits that still fit and show other lines than those there; return how many."""
        before = len(self.hits)
        for hit in hits:
            cost = self.cost(hit.chunk)
            if cost <= tokens and not self.has_lines_of(hit):
                self.hits.append(hit)
                tokens -= cost
        return len(self.hits) - before

    def has_lines_of(self, hit: Hit) -> bool:
        return any(_overlap(hit.chunk, other.chunk) for other in self.hits)


def _overlap(one: Chunk, other: Chunk) -> bool:
    return one.path == other.path and one.start_line <= other.end_line and other.start_line <= one.end_line
