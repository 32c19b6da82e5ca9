"""Questions to hits: what matches by its words and by its vectors, ranked for a reader or for a model.

A result list is for choosing a file: whole chunks, one of each file before a second of any. Sources are for
a model to read: the best lines, however many of one file. What ranks the one well ranks the other badly.
Two kinds of questions are answered from elsewhere: for the uses of a name, and about the project as a whole.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TypeAlias

from coding_assistant.domain import Chunk, Hit, SearchMode
from coding_assistant.index.excerpts import narrowed, to_be_cut
from coding_assistant.index.locations import named_locations
from coding_assistant.index.matching import ColumnWeights
from coding_assistant.index.overview import landmark, main_parts, overview_asked, readme_opening
from coding_assistant.index.ranking import (
    FILE_WEIGHTS,
    SOURCE_WEIGHTS,
    Candidate,
    Ranked,
    Weights,
    one_per_file_first,
    other_files_forward,
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

_NO_CHUNKS: Mapping[int, Chunk] = MappingProxyType({})


class Searcher:
    """Searches one project's index; without an embedder, or before it has vectors, by words alone."""

    def __init__(self, index: ProjectIndex, embedder: Embedder | None = None) -> None:
        self._index = index
        self._embedder = embedder

    def search(self, query: str, *, limit: int, mode: SearchMode = SearchMode.HYBRID) -> list[Hit]:
        """Return at most ``limit`` hits for a list: one chunk of each file before a second of any.

        A path alone asks for that file, from its beginning.
        """
        named = self._named(query)
        ranked = one_per_file_first(self._ranked(query, mode, FILE_WEIGHTS, named))
        special = self._special(query, mode) or self._file_asked_for(query, named)[:limit]
        return self._hits(ranked, special, limit=limit)

    def find_sources(
        self, query: str, *, limit: int, mode: SearchMode = SearchMode.HYBRID, context: str = ""
    ) -> list[Hit]:
        """Return at most ``limit`` hits for a model to read: the best lines, however many of one file.

        The words of ``context`` help to find, and have no say in how what was found is ranked.
        """
        embedder = None if mode is SearchMode.TEXT else self._embedder
        named = self._named(query)
        ranked = self._ranked(query, mode, SOURCE_WEIGHTS, named, context=context)
        chunks = self._index.chunks([each.head.id for each in to_be_cut(ranked)])
        sources = other_files_forward(narrowed(ranked, chunks, query, embedder=embedder))
        return self._hits(
            sources, self._special(query, mode), self._named_lines(named), limit=limit, chunks=chunks
        )

    def _hits(
        self,
        ranked: Sequence[Ranked],
        *special: Sequence[Hit],
        limit: int,
        chunks: Mapping[int, Chunk] = _NO_CHUNKS,
    ) -> list[Hit]:
        """Return the best as hits, with their texts, of which some are given; what is special comes first.

        What was deleted since it was ranked is left out.
        """
        # Something special may take the place of any of the others, and is seldom.
        shown = ranked if any(special) else ranked[:limit]
        texts = {**chunks, **self._index.chunks({each.head.id for each in shown} - chunks.keys())}
        hits = [_hit(each, texts[each.head.id]) for each in shown if each.head.id in texts]
        for some in special:
            hits = _first(some, hits)
        return hits[:limit]

    def _named(self, query: str) -> _Named:
        """Return the chunks at the places that the query names."""
        locations = named_locations(query)
        return self._index.ids_at(locations) if locations else {}

    def _special(self, query: str, mode: SearchMode) -> list[Hit]:
        """Return what answers a question that no likeness of words or vectors would."""
        if mode is SearchMode.VECTOR:
            return []
        if asked := uses_asked(query):
            return self._uses(asked)
        wanted = overview_asked(query)
        return self._overview(wanted.folder) if wanted else []

    def _file_asked_for(self, query: str, named: _Named) -> list[Hit]:
        """Return the chunks of a file, in the order of its lines, if its path is all that is asked for."""
        if len(query.split()) > 1 or any(named.values()):
            return []
        chunks = self._index.chunks(named.keys()).values() if named else ()
        return [Hit(chunk, 0.0) for chunk in sorted(chunks, key=attrgetter("path", "start_line"))]

    def _named_lines(self, named: _Named) -> list[Hit]:
        """Return the lines around those that a stack trace names, from the one that failed outwards."""
        lined = {id_: lines for id_, lines in named.items() if lines}
        chunks = self._index.chunks(lined.keys()) if lined else {}
        found = [_around(chunks[id_], lines) for id_, lines in lined.items() if id_ in chunks]
        return [Hit(chunk, 0.0) for chunk in found[:_MOST_NAMED_PLACES]]

    def _uses(self, asked: UsesAsked) -> list[Hit]:
        ranked = self._ranked(f"`{asked.name}`", SearchMode.TEXT, SOURCE_WEIGHTS, {})
        return uses(asked, self._hits(ranked, limit=len(ranked)))

    def _overview(self, folder: PurePosixPath | None) -> list[Hit]:
        """Return the README's opening, then what is to be known of each of the main files there."""
        parts = main_parts(self._index, folder)
        found = readme_opening(parts.readme) if parts.readme else []
        found += [chunk for chunks in parts.files.values() if (chunk := landmark(chunks))]
        return [Hit(chunk, 1 / rank, {"overview": 1 / rank}) for rank, chunk in enumerate(found, start=1)]

    def _ranked(
        self, query: str, mode: SearchMode, weights: Weights, named: _Named, *, context: str = ""
    ) -> list[Ranked]:
        candidates = self._candidates(f"{query} {context}" if context else query, mode, named)
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
        nearest = [] if vector is None else index.nearest(vector, limit=_CANDIDATES)
        similarity = _by_id(nearest)
        found = similarity.keys() | named.keys()
        matches = (
            []
            if mode is SearchMode.VECTOR
            else index.match(terms, weights=_COLUMNS, limit=_CANDIDATES, also=found)
        )
        text = _by_id(matches)
        if vector is not None and nearest:
            others = (text.keys() | named.keys()) - similarity.keys()
            similarity |= index.similarities(vector, others)  # of many vectors some of the nearest are missed
        # What the last of the nearest has in common with the query, any chunk of the project has.
        text_shares = _shares(text, floor=0.0)
        vector_shares = _shares(similarity, floor=nearest[-1].score if nearest else 0.0)
        return [
            Candidate(
                head,
                text=text_shares.get(head.id, 0.0),
                vector=vector_shares.get(head.id, 0.0),
                named=(1.0 if named[head.id] else _OF_NAMED_FILE) if head.id in named else 0.0,
            )
            for head in index.heads(text.keys() | similarity.keys() | named.keys())
        ]


def _by_id(found: Sequence[Scored]) -> dict[int, float]:
    return {each.id: each.score for each in found}


def _hit(ranked: Ranked, chunk: Chunk) -> Hit:
    """Return what is ranked with its text, and of what speaks for it what is not 0."""
    if ranked.is_excerpt:
        chunk = chunk.part(ranked.head.start_line, ranked.head.end_line)
    return Hit(chunk, ranked.score, {name: part for name, part in ranked.why.items() if part})


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
