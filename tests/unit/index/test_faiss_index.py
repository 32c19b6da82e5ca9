import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.index.faiss_index import FaissIndex
from coding_assistant.protocols import Vectors


def _vectors(count: int, dimensions: int, seed: int = 0) -> Vectors:
    rows: Vectors = np.random.default_rng(seed).standard_normal((count, dimensions), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _nearest(vectors: Vectors, query: Vectors, count: int) -> list[int]:
    return [int(row) for row in np.argsort(-(vectors @ query), kind="stable")[:count]]


@given(
    count=st.integers(0, 300), dimensions=st.integers(8, 70), wanted=st.integers(1, 400), seed=st.integers(0)
)
def test_an_exact_one_finds_what_numpy_finds(count: int, dimensions: int, wanted: int, seed: int) -> None:
    vectors, query = _vectors(count, dimensions, seed), _vectors(1, dimensions, seed + 1)[0]
    index = FaissIndex.exact(dimensions)
    for part in np.array_split(np.arange(count), 3):
        index.add(part.astype(np.int64) * 10, vectors[part])
    found = index.nearest(query, count=wanted) // 10
    assert len(set(found.tolist())) == len(found) == min(wanted, count)
    best = (vectors @ query)[_nearest(vectors, query, wanted)]
    np.testing.assert_allclose((vectors @ query)[found], best, atol=2e-3)  # it keeps 11 bits of each number


@pytest.mark.parametrize("dimensions", [8, 33, 128])
def test_an_approximate_one_finds_most_of_them_among_ten_times_as_many(dimensions: int) -> None:
    vectors, query = _vectors(3_000, dimensions), _vectors(1, dimensions, 1)[0]
    index = FaissIndex.approximate(vectors[:1_000])
    index.add(np.arange(3_000), vectors)
    found = set(index.nearest(query, count=200).tolist())
    assert len(found & set(_nearest(vectors, query, 20))) >= 18
    assert (index.is_exact, len(index)) == (False, 3_000)


def test_an_approximate_one_goes_on_after_it_was_kept() -> None:
    vectors, query = _vectors(500, 16), _vectors(1, 16, 1)[0]
    index = FaissIndex.approximate(vectors)
    index.add(np.arange(300) + 1_000, vectors[:300])
    again = FaissIndex.from_bytes(index.to_bytes())
    assert again is not None
    for each in (index, again):
        each.add(np.arange(300, 500) + 1_000, vectors[300:])
    assert again.nearest(query, count=50).tolist() == index.nearest(query, count=50).tolist()


@pytest.mark.parametrize("data", [b"", b"IxMp", b"something else" * 100])
def test_what_is_not_its_own_is_not_read(data: bytes) -> None:
    assert FaissIndex.from_bytes(data) is None


def test_few_samples_are_enough_and_nothing_is_found_in_nothing() -> None:
    index = FaissIndex.approximate(_vectors(16, 8))
    assert index.nearest(_vectors(1, 8)[0], count=5).tolist() == []
