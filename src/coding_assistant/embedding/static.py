"""Vectors without a model to run: a text's vector is the weighted mean of its words' vectors.

The table of word vectors comes with the package (``table/``; how it was made is told in ``tools/embedding``
of the repository). So any machine has it at once, and a processor embeds thousands of chunks a second.
What it cannot see is the order of words.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from coding_assistant.protocols import Vectors
from coding_assistant.terms import TERMS_VERSION, index_terms, query_terms, stem

TABLE = Path(__file__).with_name("table")

# So many chunks of code have some 4,000 distinct words, whose vectors are made floats once for all of them.
_BATCH_TEXTS = 256

# How a word that the table lacks is made of words that it has. A longer one is data, not a name.
_SHORTEST_WRITTEN_TOGETHER = 6
_LONGEST_WRITTEN_TOGETHER = 40
_SHORTEST_PART = 3
_MOST_PARTS = 3
_SHORTEST_BEGINNING = 4


_MOST_REMEMBERED = 200_000  # terms; some 20 MB


class _Remembered(dict[str, tuple[int, ...]]):
    """The rows of the terms met so far: twice as fast as a cache that forgets one by one."""

    def __init__(self, find: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, term: str) -> tuple[int, ...]:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        rows = self[term] = self._find(term)
        return rows


class StaticEmbedder:
    """Embeds by looking words up. Safe to use from several threads.

    ``vectors`` holds a row of int8 for each word of ``vocabulary``, ``weights`` two rows of float32: how much
    each word's row counts in a document and in a question.
    """

    def __init__(self, vocabulary: Sequence[str], vectors: NDArray[np.int8], weights: Vectors) -> None:
        self._vocabulary = vocabulary
        self._vectors = vectors
        self._document_weights, self._query_weights = weights
        self._rows = {word: row for row, word in enumerate(vocabulary)}
        self._rows_of = _Remembered(self._find_rows)

    @classmethod
    def load(cls, folder: Path = TABLE) -> Self:
        """Read a table from its three files; the vectors stay on the disk until they are needed."""
        vocabulary = folder.joinpath("vocabulary.txt").read_text(encoding="utf-8").splitlines()
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        return cls(vocabulary, vectors, np.load(folder / "weights.npy", allow_pickle=False))

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the table's weights, which no two tables share, and with how words are split."""
        weights = np.stack((self._document_weights, self._query_weights)).tobytes()
        return f"static-{TERMS_VERSION}-{hashlib.blake2b(weights, digest_size=8).hexdigest()}"

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return int(self._vectors.shape[1])

    @property
    def is_instant(self) -> bool:
        """Thousands of texts a second."""
        return True

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return a row for each text, of length 1, or all zeros for a text without a known word."""
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), _BATCH_TEXTS):
            batch = [index_terms(text) for text in texts[start : start + _BATCH_TEXTS]]
            rows[start : start + _BATCH_TEXTS] = self._embed(batch, self._document_weights)
        return rows

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question, of length 1 or all zeros."""
        row: Vectors = self._embed([" ".join(query_terms(text).terms)], self._query_weights)[0]
        return row

    def close(self) -> None:
        """Nothing runs, so there is nothing to end."""

    def _embed(self, texts: Sequence[str], weights: Vectors) -> Vectors:
        """Return the normalised sums over words of weight x log(1 + count) x vector."""
        rows_of = self._rows_of
        found = [[row for term in text.split() for row in rows_of[term]] for text in texts]
        owners = np.repeat(np.arange(len(texts)), [len(rows) for rows in found])
        words, columns = np.unique(np.fromiter(chain.from_iterable(found), np.int64), return_inverse=True)
        pairs, counts = np.unique(owners * len(words) + columns, return_counts=True)
        owners, columns = np.divmod(pairs, max(len(words), 1))
        factors = (np.log1p(counts) * weights[words][columns]).astype(np.float32)
        vectors = self._vectors[words].astype(np.float32)
        # One text at a time: the product of the batch's counts with all its words takes twice as long.
        bounds = np.searchsorted(owners, np.arange(len(texts) + 1))
        sums = np.zeros((len(texts), self.dimensions), np.float32)
        for position, (start, end) in enumerate(pairwise(bounds)):
            sums[position] = factors[start:end] @ vectors[columns[start:end]]
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        normalised: Vectors = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
        return normalised

    def _find_rows(self, term: str) -> tuple[int, ...]:
        """Return the rows that stand for a term.

        They are its own; or that of its stem's most frequent word; or those of the few words that it is
        written of; or that of its longest known beginning. Without the last three, files lose 1 to 2 points.
        """
        own = self._rows.get(term)
        if own is None:
            own = self._rows_of_stems.get(stem(term))
        if own is not None:
            return (own,)
        return self._rows_of_parts(term) or self._row_of_beginning(term)

    def _rows_of_parts(self, term: str) -> tuple[int, ...]:
        """Return the fewest words, at most three, which written together are the term: "urlopener"."""
        if not _SHORTEST_WRITTEN_TOGETHER <= len(term) <= _LONGEST_WRITTEN_TOGETHER:
            return ()
        fewest: dict[int, tuple[int, ...]] = {0: ()}
        for end in range(_SHORTEST_PART, len(term) + 1):
            parts = [
                (*fewest[start], row)
                for start in range(end - _SHORTEST_PART + 1)
                if start in fewest and (row := self._rows.get(term[start:end])) is not None
            ]
            if parts:
                fewest[end] = min(parts, key=len)
        rows = fewest.get(len(term), ())
        return rows if len(rows) <= _MOST_PARTS else ()

    def _row_of_beginning(self, term: str) -> tuple[int, ...]:
        rows = (self._rows.get(term[:end]) for end in range(len(term) - 1, _SHORTEST_BEGINNING - 1, -1))
        return next(((row,) for row in rows if row is not None), ())

    @cached_property
    def _rows_of_stems(self) -> dict[str, int]:
        # The vocabulary is ordered by frequency, so the first word of a stem is its most frequent.
        rows: dict[str, int] = {}
        for row, word in enumerate(self._vocabulary):
            rows.setdefault(stem(word), row)
        return rows
