"""From chunks that bear on a question to the lines in them that answer it.

Chunks are cut before any question is known, so that a function stays whole. A model that reads a thousand
tokens is better served by the right eight lines of twelve functions than by four whole ones. So the best
chunks are cut once more, now with the question in hand, and their parts are ranked among each other.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np

from coding_assistant.domain import Chunk, Hit, SourceFile
from coding_assistant.index.vectors import embedding_text
from coding_assistant.project.chunk import chunk_by_lines
from coding_assistant.protocols import Embedder
from coding_assistant.terms import QueryTerms, index_terms, query_terms, stem

# Each on a plateau (docs/retrieval-log.md, "Excerpts").
_CHUNKS = 60
_EXCERPT_CHARACTERS = 300
_OWN_SHARE = 0.4  # of an excerpt's score, which its own lines decide; the rest is its chunk's
_VECTOR_WEIGHT = 3.0  # of an excerpt's vector, where its words weigh 1

# So many of the excerpts are, by their vectors, no nearer to the question than any other code.
_FAR_SHARE = 0.3

# The usual constants of BM25.
_SATURATION = 1.2
_LENGTH_PENALTY = 0.75


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """Some lines of the chunk that was hit."""

    hit: Hit
    chunk: Chunk


def narrowed(hits: Sequence[Hit], query: str, *, embedder: Embedder | None) -> list[Hit]:
    """Return excerpts of the best hits, those first that say most on the question, then the other hits.

    An excerpt is a chunk of fewer lines. The scores of the other hits are scaled as those of the excerpts'
    chunks are, so that the whole list descends. Of an embedder that takes its time nothing is asked here.
    """
    near = list(takewhile(lambda hit: hit.score > 0, hits[:_CHUNKS]))
    excerpts = [_Excerpt(hit, part) for hit in near for part in _parts(hit.chunk)]
    if not excerpts:
        return list(hits)
    own = _relevance([excerpt.chunk for excerpt in excerpts], query, embedder)
    scale = (1 - _OWN_SHARE) / near[0].score
    found = [
        _rescored(excerpt.hit, excerpt.chunk, scale=scale, lines=_OWN_SHARE * relevance)
        for excerpt, relevance in zip(excerpts, own, strict=True)
    ]
    found.sort(key=lambda hit: (-hit.score, hit.chunk.path, hit.chunk.start_line))
    return [*found, *(_rescored(hit, hit.chunk, scale=scale) for hit in hits[len(near) :])]


def _parts(chunk: Chunk) -> Iterator[Chunk]:
    """Cut a chunk where its lines' blanks and margins suggest it, into parts that lie side by side.

    They leave the chunk's context out: its lines cost 4 points of gold lines, and the symbol names it too.
    """
    file = SourceFile(chunk.path, chunk.text, digest="", language=chunk.language)
    parts = chunk_by_lines(file, target_characters=_EXCERPT_CHARACTERS)
    starts = [chunk.start_line, *(chunk.start_line + part.start_line - 1 for part in parts[1:])]
    for start, following in pairwise([*starts, chunk.end_line + 1]):
        yield chunk.part(start, following - 1)


def _rescored(hit: Hit, chunk: Chunk, *, scale: float, lines: float = 0.0) -> Hit:
    """Return the hit of a chunk or its excerpt: what spoke for the chunk, scaled, and what the lines add."""
    why = {name: part * scale for name, part in hit.why.items()}
    if lines:
        why["lines"] = lines
    return Hit(chunk, sum(why.values()), why)


def _relevance(chunks: Sequence[Chunk], query: str, embedder: Embedder | None) -> list[float]:
    """Return how much each says on the question, 1 for the most, by its words and its vector."""
    by_text = _text_scores(chunks, query_terms(query))
    by_vector = (
        _vector_scores(chunks, query, embedder) if embedder and embedder.is_instant else [0.0] * len(chunks)
    )
    both = [text + _VECTOR_WEIGHT * vector for text, vector in zip(by_text, by_vector, strict=True)]
    most = max(both) or 1.0
    return [score / most for score in both]


def _text_scores(chunks: Sequence[Chunk], terms: QueryTerms) -> list[float]:
    """Return BM25 among these chunks, 1 for the best: here, a word that all of them have tells nothing."""
    counts = [
        Counter(map(stem, index_terms(f"{chunk.symbol or ''} {chunk.text}").split())) for chunk in chunks
    ]
    lengths = [each.total() for each in counts]
    mean_length = sum(lengths) / len(lengths) or 1.0
    scores = [0.0] * len(chunks)
    for term in {stem(term) for term in terms.terms}:
        holders = [position for position, each in enumerate(counts) if term in each]
        rarity = math.log1p((len(chunks) - len(holders) + 0.5) / (len(holders) + 0.5))
        for position in holders:
            count = counts[position][term]
            length = 1 - _LENGTH_PENALTY + _LENGTH_PENALTY * lengths[position] / mean_length
            scores[position] += rarity * count * (_SATURATION + 1) / (count + _SATURATION * length)
    best = max(scores) or 1.0
    return [score / best for score in scores]


def _vector_scores(chunks: Sequence[Chunk], query: str, embedder: Embedder) -> list[float]:
    """Return how near the vectors are to the question's, 1 for the nearest, 0 for those of no interest."""
    vectors = embedder.embed_documents(
        [embedding_text(chunk.path, chunk.symbol, chunk.text) for chunk in chunks]
    )
    similarities = vectors @ embedder.embed_query(query)
    floor = float(np.quantile(similarities, _FAR_SHARE))
    width = float(similarities.max()) - floor
    if width <= 0.0:
        return [0.0] * len(chunks)
    return [max(0.0, float(similarity) - floor) / width for similarity in similarities]
