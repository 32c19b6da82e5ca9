"""From chunks that bear on a question to the lines in them that answer it.

Chunks are cut before any question is known, so that a function stays whole. A model that reads a thousand
tokens is better served by the right eight lines of twelve functions than by four whole ones. So the best
chunks are cut once more, now with the question in hand, and their parts are ranked among each other.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, takewhile
from pathlib import PurePosixPath
from typing import Self

import numpy as np

from coding_assistant.domain import Chunk, SourceFile
from coding_assistant.index.ranking import Ranked, by_score
from coding_assistant.index.vectors import embedding_text
from coding_assistant.project.chunk import chunk_by_lines
from coding_assistant.protocols import Embedder
from coding_assistant.terms import QueryTerms, code_names, index_terms, query_terms, stem

# Each on a plateau (docs/retrieval-log.md, "Excerpts" and "What excerpts look like").
_CHUNKS = 60
_EXCERPT_CHARACTERS = 300
_LINES_SHARE = 2.0  # of the best chunk's score, which an excerpt's own lines add at most to its chunk's
_VECTOR_WEIGHT = 3.0  # of an excerpt's vector, where its words weigh 1

# Lines full of names say how something is done, whatever is asked. To take something from comments, too,
# finds more gold lines, and makes small models answer worse: what they can repeat stands in comments.
_NAMES_SHARE = 0.2  # of the best chunk's score, times the logarithm of one and the names

# Of what a question names (``Weights.named``), for its weight beside lines to be what it is beside chunks.
_NAMED_FACTOR = 3.0

# What was cut is remembered: who asks on asks about the same code. 4 kB each.
_MOST_REMEMBERED = 2_000

# So many of the excerpts are, by their vectors, no nearer to the question than any other code.
_FAR_SHARE = 0.3

# The usual constants of BM25.
_SATURATION = 1.2
_LENGTH_PENALTY = 0.75


@dataclass(frozen=True, slots=True)
class _Lines:
    """Some lines of a chunk, counted from its first, with their terms and how many names written as code."""

    start: int
    end: int
    terms: str
    names: int

    @classmethod
    def of(cls, lines: Sequence[str], start: int, end: int) -> Self:
        """Return the lines from ``start`` up to, but without, ``end``."""
        text = "\n".join(lines[start:end])
        return cls(start, end - 1, index_terms(text), len(code_names(text)))


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """Some lines of the chunk that was found."""

    found: Ranked
    chunk: Chunk
    lines: _Lines

    @property
    def words(self) -> list[str]:
        """The terms of what it is called and of its lines."""
        return f"{_terms_of_name(self.chunk.symbol or '')} {self.lines.terms}".split()

    @property
    def terms(self) -> str:
        """The terms of ``text``."""
        path = _terms_of_name(str(self.chunk.path))
        return f"{path} {_terms_of_name(self.chunk.symbol or '')} {self.lines.terms}"

    @property
    def text(self) -> str:
        """What an embedder reads."""
        lines = self.chunk.text.split("\n")[self.lines.start : self.lines.end + 1]
        return embedding_text(self.chunk.path, self.chunk.symbol, "\n".join(lines))

    def ranked(self, relevance: float, *, best: float) -> Ranked:
        """Return the excerpt with what speaks for its chunk, and what its lines add as shares of ``best``.

        What its place takes from the chunk, it takes from the lines.
        """
        first = self.chunk.start_line
        head = self.found.head._replace(start_line=first + self.lines.start, end_line=first + self.lines.end)
        why = {
            **self.found.why,
            "named": _NAMED_FACTOR * self.found.why.get("named", 0.0),
            "lines": self._left * best * _LINES_SHARE * relevance,
            "names": self._left * best * _NAMES_SHARE * math.log1p(self.lines.names),
        }
        return Ranked(head, sum(why.values()), why, is_excerpt=True)

    @property
    def _left(self) -> float:
        """What the chunk's place has left of its score, as a share."""
        score = self.found.score
        whole = score - self.found.why.get("place", 0.0)
        return score / whole if whole > 0 else 1.0


def to_be_cut(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Return those of the best whose chunks are to be read and cut."""
    return list(takewhile(lambda each: each.score > 0, ranked[:_CHUNKS]))


def narrowed(
    ranked: Sequence[Ranked], chunks: Mapping[int, Chunk], query: str, *, embedder: Embedder | None
) -> list[Ranked]:
    """Return excerpts of the given chunks, those first that say most on the question, then the others.

    Of an embedder that takes its time nothing is asked here.
    """
    near = [each for each in ranked if each.head.id in chunks]
    if not near:
        return list(ranked)
    excerpts = [
        _Excerpt(found, chunks[found.head.id], lines)
        for found in near
        for lines in _cut(chunks[found.head.id].text)
    ]
    best = max(each.score - each.why.get("named", 0.0) for each in near)
    found = [
        excerpt.ranked(relevance, best=best)
        for excerpt, relevance in zip(excerpts, _relevance(excerpts, query, embedder), strict=True)
    ]
    others = [each for each in ranked if each.head.id not in chunks]
    return [*sorted(found, key=by_score), *others]


@lru_cache(maxsize=_MOST_REMEMBERED)
def _cut(text: str) -> tuple[_Lines, ...]:
    """Cut a chunk where its lines' blanks and margins suggest it, into parts that lie side by side."""
    parts = chunk_by_lines(
        SourceFile(PurePosixPath(), text, digest="", language=None), target_characters=_EXCERPT_CHARACTERS
    )
    lines = text.split("\n")
    starts = [0, *(part.start_line - 1 for part in parts[1:]), len(lines)]
    return tuple(_Lines.of(lines, start, following) for start, following in pairwise(starts))


@lru_cache(maxsize=_MOST_REMEMBERED)
def _terms_of_name(name: str) -> str:
    return index_terms(name)


def _relevance(excerpts: Sequence[_Excerpt], query: str, embedder: Embedder | None) -> list[float]:
    """Return how much each says on the question, 1 for the most, by its words and its vector."""
    by_text = _text_scores([excerpt.words for excerpt in excerpts], query_terms(query))
    by_vector = [0.0] * len(excerpts)
    if embedder and embedder.is_instant:
        by_vector = _vector_scores(excerpts, query, embedder)
    both = [text + _VECTOR_WEIGHT * vector for text, vector in zip(by_text, by_vector, strict=True)]
    most = max(both) or 1.0
    return [score / most for score in both]


def _text_scores(texts: Sequence[Sequence[str]], terms: QueryTerms) -> list[float]:
    """Return BM25 among these texts, 1 for the best: here, a word that all of them have tells nothing."""
    asked = {stem(term) for term in terms.terms}
    stems = {word: stem(word) for word in set().union(*texts)}
    wanted = {word: stemmed for word, stemmed in stems.items() if stemmed in asked}
    counts = [Counter([wanted[word] for word in words if word in wanted]) for words in texts]
    lengths = [len(words) for words in texts]
    mean_length = sum(lengths) / len(lengths) or 1.0
    scores = [0.0] * len(texts)
    for term in asked:
        holders = [position for position, each in enumerate(counts) if term in each]
        rarity = math.log1p((len(texts) - len(holders) + 0.5) / (len(holders) + 0.5))
        for position in holders:
            count = counts[position][term]
            length = 1 - _LENGTH_PENALTY + _LENGTH_PENALTY * lengths[position] / mean_length
            scores[position] += rarity * count * (_SATURATION + 1) / (count + _SATURATION * length)
    best = max(scores) or 1.0
    return [score / best for score in scores]


def _vector_scores(excerpts: Sequence[_Excerpt], query: str, embedder: Embedder) -> list[float]:
    """Return how near the vectors are to the question's, 1 for the nearest, 0 for those of no interest."""
    if embedder.embed_terms is not None:
        vectors = embedder.embed_terms([excerpt.terms for excerpt in excerpts])
    else:
        vectors = embedder.embed_documents([excerpt.text for excerpt in excerpts])
    similarities = vectors @ embedder.embed_query(query)
    floor = float(np.quantile(similarities, _FAR_SHARE))
    width = float(similarities.max()) - floor
    if width <= 0.0:
        return [0.0] * len(excerpts)
    return [max(0.0, similarity - floor) / width for similarity in similarities.tolist()]
