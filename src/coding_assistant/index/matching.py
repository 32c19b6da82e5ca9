"""Which chunks share terms with a question, by BM25, at a cost that hardly grows with the index.

It knows the terms and the chunks' ids and nothing else of the index; whoever calls lends a connection to it.
What costs is scoring, 1 µs a chunk, ten times as much as finding it. So of a question whose terms stand in
many chunks, only those chunks are scored that hold one of its rare terms: on all terms, as without a bound.
The figures are in docs/retrieval-log.md, "Text search at scale".
"""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass
from itertools import starmap
from typing import Self

from coding_assistant.index.scored import Scored

# So many chunks are scored, or a fiftieth of those there are. Up to some 30,000 chunks that is all that share
# a term with a question of usual length; in 104,000 the 50 best by text are 98 in 100 the same as without a
# bound, and files and gold lines are found as well. With 2,000 files lose 1.5 points.
MOST_SCORED = 8_000
MOST_SCORED_SHARE = 50

# How far the chunks of a term are counted, and how many chunks all terms may stand in together, or in which
# share of all: finding a million takes 90 ms, and FTS5 does it up to four times a question. In an index of
# 100,000 chunks, a term that stands in half of them has no weight in BM25 anyway ("Query time").
MOST_COUNTED = 50_000
MOST_FOUND = 30_000
MOST_FOUND_SHARE = 5

# Counts only divide the terms, so they may be old; not so old that another division would be much better.
_COUNTS_HOLD_SHARE = 20
_MOST_COUNTS_KEPT = 20_000

_COUNT = "SELECT count(*) FROM (SELECT 1 FROM terms WHERE terms MATCH ? LIMIT ?)"
_BEST = """
SELECT rowid, -bm25(terms, ?, ?, ?) AS score FROM terms WHERE terms MATCH ? ORDER BY score DESC, rowid LIMIT ?
"""
# Without the plus FTS5 would be asked for one id after the other, each time with all that a query costs.
_THESE = """
SELECT rowid, -bm25(terms, ?, ?, ?) FROM terms
WHERE terms MATCH ? AND +rowid IN (SELECT value FROM json_each(?))
"""


@dataclass(frozen=True, slots=True)
class ColumnWeights:
    """How much a term counts, by where it stands."""

    path: float
    symbol: float
    body: float


class TermCounts:
    """In how many chunks terms stand, ``MOST_COUNTED`` at most; remembered while the index changes little."""

    def __init__(self) -> None:
        self._newest = 0
        self._chunks = 0
        self._counts: dict[str, int] = {}

    def of(self, connection: sqlite3.Connection, terms: Collection[str]) -> Mapping[str, int]:
        """Return the counts of these terms."""
        self._forget_old(connection)
        counts = {term: self._counts.get(term, -1) for term in terms}
        counts |= {term: _count(connection, term) for term, count in counts.items() if count < 0}
        self._counts.update(counts)
        return counts

    @property
    def most_scored(self) -> int:
        """How many chunks a question may have scored."""
        return max(MOST_SCORED, self._chunks // MOST_SCORED_SHARE)

    @property
    def most_found(self) -> int:
        """In how many chunks together the terms of a question may stand that are not left out."""
        return max(MOST_FOUND, self._chunks // MOST_FOUND_SHARE)

    def _forget_old(self, connection: sqlite3.Connection) -> None:
        ((newest,),) = connection.execute("SELECT coalesce(max(id), 0) FROM chunks")
        has_grown = abs(newest - self._newest) * _COUNTS_HOLD_SHARE > self._newest
        if has_grown or len(self._counts) > _MOST_COUNTS_KEPT:
            ((self._chunks,),) = connection.execute("SELECT count(*) FROM chunks")
            self._newest, self._counts = newest, {}


@dataclass(frozen=True, slots=True)
class _Terms:
    """A question's terms: a chunk is scored if it holds a rare one, and then on the frequent ones, too."""

    rare: Sequence[str]
    frequent: Sequence[str]
    is_rare_name: bool  # the rarest stands in so many chunks that it must be a name of theirs

    @classmethod
    def of(cls, connection: sqlite3.Connection, terms: Collection[str], known: TermCounts) -> Self:
        """Divide terms by how many chunks hold them; what stands nearly everywhere is in neither part."""
        counts = known.of(connection, terms)
        rising = sorted(counts, key=counts.__getitem__)
        # A term that stands nowhere costs nothing, and finds nothing by itself; the rarest that does, counts.
        absent = sum(1 for term in rising if not counts[term])
        rare = rising[: absent + 1]
        found = sum(counts[term] for term in rare)
        for term in rising[len(rare) :]:
            if found + counts[term] > known.most_scored:
                break
            found += counts[term]
            rare.append(term)
        frequent = []
        for term in rising[len(rare) :]:
            found += counts[term]
            if counts[term] >= MOST_COUNTED or found > known.most_found:
                break
            frequent.append(term)
        rarest = counts[rising[min(absent, len(rising) - 1)]]
        return cls(rare, frequent, rarest >= MOST_COUNTED)

    @property
    def expressions(self) -> list[str]:
        """FTS5 queries, each of other chunks, that together match what is to be scored.

        Not one query: no term may stand in it twice, or it would count twice.
        """
        if not self.frequent:
            return [self._rare]
        frequent = _any_of(self.frequent)
        return [f"{self._rare} AND {frequent}", f"{self._rare} NOT {frequent}"]

    @property
    def all(self) -> str:
        """One query of the chunks that hold any of the terms."""
        return " OR ".join([self._rare, *map(_quoted, self.frequent)])

    @property
    def _rare(self) -> str:
        return f"{'{path symbol} : ' if self.is_rare_name else ''}{_any_of(self.rare)}"


def match(
    connection: sqlite3.Connection,
    terms: Collection[str],
    *,
    weights: ColumnWeights,
    limit: int,
    counts: TermCounts,
    also: AbstractSet[int] = frozenset(),
) -> list[Scored]:
    """Return at most ``limit`` of the chunks that share terms with a question, best first.

    And whatever their score those of ``also`` that share any.
    """
    if not terms:
        return []
    divided = _Terms.of(connection, terms, counts)
    columns = astuple(weights)
    scores: dict[int, float] = {}
    for expression in divided.expressions:
        scores.update(connection.execute(_BEST, (*columns, expression, limit)))
    if lacking := also - scores.keys():
        scores.update(connection.execute(_THESE, (*columns, divided.all, json.dumps(list(lacking)))))
    found = sorted(starmap(Scored, scores.items()), key=lambda each: (-each.score, each.id))
    return found[:limit] + [each for each in found[limit:] if each.id in also]


def _any_of(terms: Sequence[str]) -> str:
    return f"({' OR '.join(map(_quoted, terms))})"


def _count(connection: sqlite3.Connection, term: str) -> int:
    ((count,),) = connection.execute(_COUNT, (_quoted(term), MOST_COUNTED))
    return int(count)


def _quoted(term: str) -> str:
    return f'"{term}"'
