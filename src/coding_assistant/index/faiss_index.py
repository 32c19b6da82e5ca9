"""FAISS behind a narrow door: vectors in memory under their numbers, and which of them are nearest to one.

Nothing else knows FAISS, and this knows nothing of where vectors come from. What it finds is to be scored
again with the vectors themselves: it keeps them rounded. It is not safe to use from several threads at once.
"""

from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

from coding_assistant.protocols import Vectors

# One of 16 values for every two dimensions, so 64 bytes for a vector of 256. A vector by vector look at all
# of them: 9 ms for a million. What it finds is rougher than what inverted lists of 8-bit vectors hold, but
# it misses no list: scored again, it found more in less time and a quarter of the memory ("Vectors").
_BITS = 4
_DIMENSIONS_TOGETHER = 2
SMALLEST_SAMPLE = 2**_BITS
# FAISS's 25 rounds of choosing them find no more, and take three times as long.
_ROUNDS = 8


class FaissIndex:
    """Vectors that are searched by inner product; ``is_exact`` tells whether every one is kept as it is.

    An exact one takes 2 bytes a dimension and rounds to 11 bits; the other a quarter of a byte. FAISS works
    on the caller's thread alone, so that it takes no processor from the model.
    """

    def __init__(self, index: faiss.Index, *, is_exact: bool) -> None:
        self._index = index
        self.is_exact = is_exact

    @classmethod
    def exact(cls, dimensions: int) -> Self:
        """Begin one that compares with every vector."""
        quantizer = faiss.ScalarQuantizer.QT_fp16
        flat = faiss.IndexScalarQuantizer(dimensions, quantizer, faiss.METRIC_INNER_PRODUCT)
        return cls(faiss.IndexIDMap(flat), is_exact=True)

    @classmethod
    def approximate(cls, sample: Vectors) -> Self:
        """Begin one for vectors like these, at least ``SMALLEST_SAMPLE``, that takes little memory."""
        _stay_on_this_thread()
        dimensions = sample.shape[1]
        is_even = dimensions % _DIMENSIONS_TOGETHER == 0
        parts = dimensions // _DIMENSIONS_TOGETHER if is_even else dimensions
        coarse = faiss.IndexPQFastScan(dimensions, parts, _BITS, faiss.METRIC_INNER_PRODUCT)
        coarse.pq.cp.niter = _ROUNDS
        coarse.pq.cp.min_points_per_centroid = 1  # else it prints what it thinks of a small sample
        coarse.train(np.ascontiguousarray(sample))
        return cls(faiss.IndexIDMap(coarse), is_exact=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """Read an approximate one that ``to_bytes`` wrote; None if this version of FAISS cannot."""
        try:
            return cls(faiss.deserialize_index(np.frombuffer(data, np.uint8)), is_exact=False)
        except RuntimeError:
            return None

    def to_bytes(self) -> bytes:
        """Return all of it, to be kept."""
        return faiss.serialize_index(self._index).tobytes()

    def __len__(self) -> int:
        return self._index.ntotal

    def add(self, numbers: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors, a row each, under numbers that are not in it yet."""
        _stay_on_this_thread()
        self._index.add_with_ids(np.ascontiguousarray(vectors), numbers)

    def nearest(self, vector: Vectors, *, count: int) -> NDArray[np.int64]:
        """Return the numbers of so many vectors, or of all there are, roughly the nearest first."""
        _stay_on_this_thread()
        count = min(count, len(self))
        if count == 0:
            return np.empty(0, np.int64)
        _, found = self._index.search(np.ascontiguousarray(vector[np.newaxis]), count)
        numbers: NDArray[np.int64] = found[0]
        return numbers[numbers >= 0]


def _stay_on_this_thread() -> None:
    """Keep FAISS from using every processor; OpenMP holds this for each calling thread by itself."""
    faiss.omp_set_num_threads(1)
