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
_LONGEST_WRITTEN_TOGETHER = 40
_SHORTEST_PART = 3
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
        # What NumPy does to tell a mapped array from others takes a quarter of the time of reading its rows.
        return cls(vocabulary, np.asarray(vectors), np.load(folder / "weights.npy", allow_pickle=False))

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

    @property
    def is_loaded(self) -> bool:
        """There is no model to load."""
        return True

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return a row for each text, of length 1, or all zeros for a text without a known word."""
        return self.embed_terms([index_terms(text) for text in texts])

    def embed_terms(self, terms: Sequence[str]) -> Vectors:
        """Return the same rows for texts that are split already: all that counts is which terms they have."""
        rows = np.zeros((len(terms), self.dimensions), np.float32)
        for start in range(0, len(terms), _BATCH_TEXTS):
            batch = terms[start : start + _BATCH_TEXTS]
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
        rows_of = self._rows_of.__getitem__
        found = [list(chain.from_iterable(map(rows_of, text.split()))) for text in texts]
        owners = np.repeat(np.arange(len(texts)), list(map(len, found)))
        rows = np.fromiter(chain.from_iterable(found), np.int64, len(owners))
        pairs, counts = np.unique(owners * len(self._vocabulary) + rows, return_counts=True)
        owners, rows = np.divmod(pairs, len(self._vocabulary))
        factors = (np.log1p(counts) * weights[rows]).astype(np.float32)
        # One text at a time: the product of the batch's counts with all its words takes twice as long.
        bounds = np.searchsorted(owners, np.arange(len(texts) + 1))
        sums = np.zeros((len(texts), self.dimensions), np.float32)
        for position, (start, end) in enumerate(pairwise(bounds)):
            sums[position] = factors[start:end] @ self._vectors[rows[start:end]].astype(np.float32)
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
        beginnings = [
            (end, row)
            for end in range(_SHORTEST_PART, len(term))
            if (row := self._rows.get(term[:end])) is not None
        ]
        if not beginnings:
            return ()
        end, row = beginnings[-1]
        return self._rows_of_parts(term, beginnings) or ((row,) if end >= _SHORTEST_BEGINNING else ())

    def _rows_of_parts(self, term: str, beginnings: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Return the fewest words, two or three, which written together are the term: "urlopener"."""
        if len(term) > _LONGEST_WRITTEN_TOGETHER:
            return ()
        known = self._rows.get
        for end, first in beginnings:
            if (last := known(term[end:])) is not None and len(term) - end >= _SHORTEST_PART:
                return first, last
        for start in range(2 * _SHORTEST_PART, len(term) - _SHORTEST_PART + 1):
            if (last := known(term[start:])) is None:
                continue
            for end, first in beginnings:
                if start - end >= _SHORTEST_PART and (middle := known(term[end:start])) is not None:
                    return first, middle, last
        return ()

    @cached_property
    def _rows_of_stems(self) -> dict[str, int]:
        # The vocabulary is ordered by frequency, so the first word of a stem is its most frequent.
        rows: dict[str, int] = {}
        for row, word in enumerate(self._vocabulary):
            rows.setdefault(stem(word), row)
        return rows
