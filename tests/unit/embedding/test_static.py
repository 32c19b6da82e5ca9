from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.embedding.static import TABLE, StaticEmbedder
from coding_assistant.protocols import Embedder, Vectors
from support.embedder_contract import EmbedderContract

# The order is by frequency: of two words of one stem the first counts.
_VOCABULARY = ("parse", "parsed", "url", "opener", "data", "base", "database", "conf", "config")
_AXES = {word: axis for axis, word in enumerate(_VOCABULARY)}
_DOCUMENT_WEIGHTS = np.arange(1, 10, dtype=np.float32)
_QUERY_WEIGHTS = _DOCUMENT_WEIGHTS[::-1].copy()
_WEIGHTS = np.stack((_DOCUMENT_WEIGHTS, _QUERY_WEIGHTS))


@pytest.fixture(scope="module")
def shipped() -> StaticEmbedder:
    return StaticEmbedder.load()


@pytest.fixture
def small() -> StaticEmbedder:
    """Every word is an axis of its own."""
    return _table(_WEIGHTS)


def _table(weights: Vectors) -> StaticEmbedder:
    return StaticEmbedder(_VOCABULARY, np.diag(np.full(9, 100, np.int8)), weights)


def _embed(embedder: Embedder, text: str) -> Vectors:
    row: Vectors = embedder.embed_documents([text])[0]
    return row


def _expected(**parts: float) -> Vectors:
    """Return the vector of length 1 that points so far along the axes of words."""
    vector = np.zeros(len(_VOCABULARY), np.float32)
    for word, part in parts.items():
        vector[_AXES[word]] = part
    normalised: Vectors = vector / np.linalg.norm(vector)
    return normalised


def _words(embedder: StaticEmbedder, term: str) -> set[str]:
    """Return the words of the table that stand for a term."""
    return {_VOCABULARY[axis] for axis in np.flatnonzero(_embed(embedder, term))}


class TestShippedTable(EmbedderContract):
    @pytest.fixture
    def embedder(self, shipped: StaticEmbedder) -> Embedder:
        return shipped


def test_the_shipped_table_has_256_dimensions(shipped: StaticEmbedder) -> None:
    assert shipped.dimensions == 256
    assert shipped.embed_query("parse").shape == (256,)


def test_the_shipped_table_names_its_origin_and_licence() -> None:
    notice = (TABLE / "NOTICE").read_text(encoding="utf-8")
    data = {file.name for file in TABLE.iterdir()} - {"NOTICE"}
    assert data == {"vocabulary.txt", "vectors.npy", "weights.npy", "LICENSE-Apache-2.0.txt"}
    assert all(name in notice for name in data)
    assert "Apache License" in (TABLE / "LICENSE-Apache-2.0.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("question", "near", "far"),
    [
        (
            "how is a file deleted",
            "def remove(path):\n    os.unlink(path)",
            "def mix(red, green):\n    return 0",
        ),
        ("log in a user", "class AuthenticationView:\n    password: str", "class Matrix:\n    rows: int"),
        (
            "fetch a web page",
            "def http_get(url):\n    return request",
            "def sort(array):\n    swap(left, right)",
        ),
        ("open a database", "connection = sqlite.connect(table)", "painter.draw_circle(radius, colour)"),
        ("errors", "except Exception as exc:\n    raise Failure", "width = height * 2"),
    ],
)
def test_with_the_shipped_table_what_means_the_same_is_nearer(
    shipped: StaticEmbedder, question: str, near: str, far: str
) -> None:
    close, distant = shipped.embed_documents([near, far]) @ shipped.embed_query(question)
    assert close > distant + 0.1


def test_a_word_counts_by_its_weight_and_the_logarithm_of_its_count(small: StaticEmbedder) -> None:
    url, base = _DOCUMENT_WEIGHTS[_AXES["url"]], _DOCUMENT_WEIGHTS[_AXES["base"]]
    expected = _expected(url=np.log(4) * url, base=np.log(2) * base)
    np.testing.assert_allclose(_embed(small, "url base url\nurl"), expected, rtol=1e-6)


def test_a_question_has_weights_of_its_own_and_counts_a_word_once(small: StaticEmbedder) -> None:
    expected = _expected(url=_QUERY_WEIGHTS[_AXES["url"]], base=_QUERY_WEIGHTS[_AXES["base"]])
    np.testing.assert_allclose(small.embed_query("what is the url of a base url?"), expected, rtol=1e-6)


def test_a_vectors_own_length_counts() -> None:
    vectors = np.array([[120, 0], [0, -40]], np.int8)
    embedder = StaticEmbedder(["url", "base"], vectors, np.ones((2, 2), np.float32))
    expected = np.array([3, -1]) / np.sqrt(10)
    np.testing.assert_allclose(_embed(embedder, "url base"), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("parsed", {"parsed"}),
        ("Parse", {"parse"}),
        ("parsing", {"parse"}),
        ("parses", {"parse"}),
        ("urlopener", {"url", "opener"}),
        ("databaseurl", {"database", "url"}),
        ("configuratorish", {"config"}),
        ("conformal", {"conf"}),
        ("url" * 3, {"url"}),
    ],
)
def test_a_term_that_is_no_word_stands_for_words_like_it(
    small: StaticEmbedder, term: str, words: set[str]
) -> None:
    assert _words(small, term) == words


@pytest.mark.parametrize("text", ["", "zebra", "urlx", "opene", "con", "größe", "url" * 4, "🦓 \x00"])
def test_what_is_like_no_word_has_no_direction(small: StaticEmbedder, text: str) -> None:
    assert not _embed(small, text).any()
    assert not small.embed_query(text).any()


def test_a_name_counts_whole_and_in_its_parts(small: StaticEmbedder) -> None:
    url, opener = _DOCUMENT_WEIGHTS[_AXES["url"]], _DOCUMENT_WEIGHTS[_AXES["opener"]]
    expected = _expected(url=np.log(3) * url, opener=np.log(3) * opener)
    np.testing.assert_allclose(_embed(small, "UrlOpener"), expected, rtol=1e-6)


@pytest.mark.parametrize("count", [255, 256, 257, 600])
def test_many_texts_are_embedded_like_each_of_them(small: StaticEmbedder, count: int) -> None:
    texts = [" ".join(_VOCABULARY[: number % 10]) for number in range(count)]
    expected = np.stack([_embed(small, text) for text in texts[:10]])
    np.testing.assert_allclose(small.embed_documents(texts), np.resize(expected, (count, 9)), rtol=1e-6)


def test_the_fingerprint_is_that_of_the_table() -> None:
    assert _table(_WEIGHTS).fingerprint == _table(_WEIGHTS.copy()).fingerprint
    changed = _WEIGHTS.copy()
    changed[1, 3] += np.float32(1e-6) * changed[1, 3]
    assert _table(changed).fingerprint != _table(_WEIGHTS).fingerprint
    assert _table(_WEIGHTS[::-1]).fingerprint != _table(_WEIGHTS).fingerprint


def test_a_table_is_read_from_its_files(tmp_path: Path, small: StaticEmbedder) -> None:
    (tmp_path / "vocabulary.txt").write_text("\n".join(_VOCABULARY) + "\n", encoding="utf-8")
    np.save(tmp_path / "vectors.npy", np.diag(np.full(9, 100, np.int8)))
    np.save(tmp_path / "weights.npy", _WEIGHTS)
    read = StaticEmbedder.load(tmp_path)
    assert (read.fingerprint, read.dimensions) == (small.fingerprint, 9)
    text = "parse the database of urls"
    np.testing.assert_array_equal(_embed(read, text), _embed(small, text))


@given(st.lists(st.text() | st.lists(st.sampled_from(_VOCABULARY)).map("".join), max_size=6))
def test_any_text_has_a_vector_of_length_one_or_none(texts: Sequence[str]) -> None:
    embedder = _table(_WEIGHTS)
    vectors = embedder.embed_documents(texts)
    assert vectors.shape == (len(texts), 9)
    for vector in (*vectors, *map(embedder.embed_query, texts)):
        assert not vector.any() or np.linalg.norm(vector) == pytest.approx(1)
