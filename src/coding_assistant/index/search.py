"""Questions to hits: what matches by text, ranked for a list to choose from or for a model to read."""

from coding_assistant.domain import Hit
from coding_assistant.index.ranking import (
    FILE_WEIGHTS,
    SOURCE_WEIGHTS,
    Candidate,
    Weights,
    one_per_file_first,
    rank,
)
from coding_assistant.index.store import ColumnWeights, ProjectIndex
from coding_assistant.terms import query_terms

# Both lie on plateaus (docs/retrieval-log.md, "Weights"). With 100 candidates whole projects lose 0.8 points,
# with 400 nothing is won; paths and symbols weighing four times as much move figures by half a point.
_CANDIDATES = 200
_COLUMNS = ColumnWeights(path=1.0, symbol=2.0, body=1.0)


def search(index: ProjectIndex, query: str, *, limit: int) -> list[Hit]:
    """Return at most ``limit`` hits for a list: one chunk of each file before a second of any."""
    return one_per_file_first(_ranked(index, query, FILE_WEIGHTS))[:limit]


def find_sources(index: ProjectIndex, query: str, *, limit: int) -> list[Hit]:
    """Return at most ``limit`` hits for a model to read: the best chunks, however many of one file."""
    return _ranked(index, query, SOURCE_WEIGHTS)[:limit]


def _ranked(index: ProjectIndex, query: str, weights: Weights) -> list[Hit]:
    terms = query_terms(query)
    matches = index.match(terms, weights=_COLUMNS, limit=_CANDIDATES)
    if not matches:
        return []
    best = matches[0].score
    candidates = [Candidate(match.chunk, match.score / best) for match in matches]
    return rank(terms, candidates, weights=weights)
