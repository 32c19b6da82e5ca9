"""Questions to hits: what matches by its words and by its vectors, ranked for a reader or for a model.

A result list is for choosing a file: whole chunks, one of each file before a second of any. Sources are for
a model to read: the best lines, however many of one file. What ranks the one well ranks the other badly.
Two kinds of questions are answered from elsewhere: for the uses of a name, and about the project as a whole.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from coding_assistant.domain import Chunk, Hit, SearchMode
from coding_assistant.index.excerpts import narrowed
from coding_assistant.index.locations import named_locations
from coding_assistant.index.matching import ColumnWeights
from coding_assistant.index.overview import asks_for_overview, landmark, main_files, readme, readme_opening
from coding_assistant.index.ranking import (
    FILE_WEIGHTS,
    SOURCE_WEIGHTS,
    Candidate,
    Weights,
    one_per_file_first,
    other_files_forward,
    places_of,
    rank,
)
from coding_assistant.index.scored import Scored
from coding_assistant.index.store import ProjectIndex
from coding_assistant.index.uses import UsesAsked, uses, uses_asked
from coding_assistant.protocols import Embedder, Vectors
from coding_assistant.terms import query_terms

# Both lie on plateaus (docs/retrieval-log.md, "Weights"). With 100 candidates whole projects lose 0.8 points,
# with 400 nothing is won; paths and symbols weighing four times as much move figures by half a point.
_CANDIDATES = 200
_COLUMNS = ColumnWeights(path=1.0, symbol=2.0, body=1.0)

# A stack trace's line with what leads to it and what catches it.
_LINES_AROUND = 6
_MOST_NAMED_PLACES = 5  # what is called in between seldom matters, and other sources want room

_OF_NAMED_FILE = 0.25  # a chunk of a file that is named, where a chunk of a named line counts 1


_Named: TypeAlias = Mapping[int, tuple[int, ...]]
"""The chunks at places that a query names, each with its lines that are named."""


class Searcher:
    """Searches one project's index; without an embedder, or before it has vectors, by words alone."""

    def __init__(self, index: ProjectIndex, embedder: Embedder | None = None) -> None:
        self._index = index
        self._embedder = embedder

    def search(self, query: str, *, limit: int, mode: SearchMode = SearchMode.HYBRID) -> list[Hit]:
        """Return at most ``limit`` hits for a list: one chunk of each file before a second of any."""
        hits = one_per_file_first(self._ranked(query, mode, FILE_WEIGHTS, self._named(query)))
        return self._with_special(query, hits, mode)[:limit]

    def find_sources(
        self, query: str, *, limit: int, mode: SearchMode = SearchMode.HYBRID, context: str = ""
    ) -> list[Hit]:
        """Return at most ``limit`` hits for a model to read: the best lines, however many of one file.

        The words of ``context`` help to find, and have no say in how what was found is ranked.
        """
        embedder = None if mode is SearchMode.TEXT else self._embedder
        named = self._named(query)
        hits = self._ranked(query, mode, SOURCE_WEIGHTS, named, context=context)
        excerpts = other_files_forward(narrowed(hits, query, embedder=embedder))
        return _first(self._named_lines(named), self._with_special(query, excerpts, mode))[:limit]

    def _named(self, query: str) -> _Named:
        """Return the chunks at the places that the query names."""
        locations = named_locations(query)
        return self._index.ids_at(locations) if locations else {}

    def _with_special(self, query: str, hits: Sequence[Hit], mode: SearchMode) -> list[Hit]:
        """Put before the hits what answers a question that no likeness of words or vectors would."""
        if mode is SearchMode.VECTOR:
            return list(hits)
        if asked := uses_asked(query):
            return _first(self._uses(asked), hits)
        return _first(self._overview(), hits) if asks_for_overview(query) else list(hits)

    def _named_lines(self, named: _Named) -> list[Hit]:
        """Return the lines around those that a stack trace names, from the one that failed outwards."""
        lined = {id_: lines for id_, lines in named.items() if lines}
        chunks = self._index.chunks(lined.keys()) if lined else {}
        found = [_around(chunks[id_], lines) for id_, lines in lined.items() if id_ in chunks]
        return [Hit(chunk, 0.0) for chunk in found[:_MOST_NAMED_PLACES]]

    def _uses(self, asked: UsesAsked) -> list[Hit]:
        return uses(asked, self._ranked(f"`{asked.name}`", SearchMode.TEXT, SOURCE_WEIGHTS, {}))

    def _overview(self) -> list[Hit]:
        """Return the README's opening, then what is to be known of each of the main files."""
        sizes = self._index.sizes()
        opening = readme(sizes)
        code = {path: size for path, size in sizes.items() if path != opening and not places_of(path)}
        files = main_files(code)
        chunks = self._index.chunks_of_files([*files, *([opening] if opening else [])])
        found = readme_opening(chunks[opening]) if opening else []
        found += [chunk for path in files if (chunk := landmark(chunks[path]))]
        return [Hit(chunk, 1 / rank, {"overview": 1 / rank}) for rank, chunk in enumerate(found, start=1)]

    def _ranked(
        self, query: str, mode: SearchMode, weights: Weights, named: _Named, *, context: str = ""
    ) -> list[Hit]:
        candidates = self._candidates(f"{query} {context}", mode, named)
        return rank(query_terms(query), candidates, weights=weights)

    def _vector(self, words: str, mode: SearchMode) -> Vectors | None:
        """Return the words' vector, unless vectors are not asked for or none of the words has one."""
        if self._embedder is None or mode is SearchMode.TEXT:
            return None
        vector = self._embedder.embed_query(words)
        return vector if vector.any() else None

    def _candidates(self, words: str, mode: SearchMode, named: _Named) -> list[Candidate]:
        """Return what the words, their vector or the named places find, each scored by all three."""
        terms, vector = query_terms(words), self._vector(words, mode)
        index = self._index
        matches = [] if mode is SearchMode.VECTOR else index.match(terms, weights=_COLUMNS, limit=_CANDIDATES)
        nearest = [] if vector is None else index.nearest(vector, limit=_CANDIDATES)
        text, similarity = _by_id(matches), _by_id(nearest)
        if matches:
            others = (similarity.keys() | named.keys()) - text.keys()
            text |= index.text_scores(terms, others, weights=_COLUMNS)
        if vector is not None and nearest:
            others = (text.keys() | named.keys()) - similarity.keys()
            similarity |= index.similarities(vector, others)  # of many vectors some of the nearest are missed
        # What the last of the nearest has in common with the query, any chunk of the project has.
        text_shares = _shares(text, floor=0.0)
        vector_shares = _shares(similarity, floor=nearest[-1].score if nearest else 0.0)
        return [
            Candidate(
                chunk,
                text=text_shares.get(id_, 0.0),
                vector=vector_shares.get(id_, 0.0),
                named=(1.0 if named[id_] else _OF_NAMED_FILE) if id_ in named else 0.0,
            )
            for id_, chunk in index.chunks(text.keys() | similarity.keys() | named.keys()).items()
        ]


def _by_id(found: Sequence[Scored]) -> dict[int, float]:
    return {each.id: each.score for each in found}


def _shares(scores: Mapping[int, float], *, floor: float) -> dict[int, float]:
    """Return the scores as shares of the way from the floor to the best."""
    width = max(scores.values(), default=floor) - floor
    if width <= 0.0:
        return {}
    return {id_: max(0.0, (score - floor) / width) for id_, score in scores.items()}


def _first(special: Sequence[Hit], hits: Sequence[Hit]) -> list[Hit]:
    """Return the special hits before the others, scores descending, without what they show already."""
    best = hits[0].score if hits else 0.0
    raised = [replace(hit, score=hit.score + best, why={**hit.why, "asked for": best}) for hit in special]
    return raised + [hit for hit in hits if not any(_overlap(hit.chunk, other.chunk) for other in raised)]


def _around(chunk: Chunk, lines: Collection[int]) -> Chunk:
    """Return the part of a chunk that shows these lines and some around them."""
    first = max(chunk.start_line, min(lines) - _LINES_AROUND)
    last = min(chunk.end_line, max(lines) + _LINES_AROUND)
    return chunk.part(first, last)


def _overlap(one: Chunk, other: Chunk) -> bool:
    return one.path == other.path and one.start_line <= other.end_line and other.start_line <= one.end_line
