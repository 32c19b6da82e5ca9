"""What every embedder promises, as tests: inherit ``EmbedderContract`` and add a fixture ``embedder``."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from coding_assistant.protocols import Embedder
from coding_assistant.terms import index_terms

_ABOUT_RETRIES = "src/retry.py\nRetry.delay\ndef delay(self):\n    return self.backoff * 2 ** self.retries"
_ABOUT_COLOURS = "src/paint.py\nmix\ndef mix(red, green, blue):\n    return (red + green + blue) / 3"
_TEXTS = [
    _ABOUT_RETRIES,
    _ABOUT_COLOURS,
    "def größe(naïve): ...  # 大小",
    "x",
    "",
    " \n\t",
    "\x00\ufffd\U0001f600",
    "word " * 20_000,
]


class EmbedderContract:
    def test_it_has_a_fingerprint_and_dimensions_that_stay(self, embedder: Embedder) -> None:
        before = embedder.fingerprint, embedder.dimensions
        embedder.embed_documents(_TEXTS)
        assert (embedder.fingerprint, embedder.dimensions) == before
        assert embedder.fingerprint
        assert embedder.dimensions > 0
        assert embedder.is_loaded

    @pytest.mark.parametrize("count", [0, 1, len(_TEXTS)])
    def test_every_text_has_a_row_of_length_one_or_zero(self, embedder: Embedder, count: int) -> None:
        vectors = embedder.embed_documents(_TEXTS[:count])
        assert vectors.shape == (count, embedder.dimensions)
        assert vectors.dtype.name == "float32"
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.all(np.isclose(lengths, 1, atol=1e-3) | (lengths == 0))

    @pytest.mark.parametrize("text", _TEXTS)
    def test_a_question_has_a_vector_of_length_one_or_zero(self, embedder: Embedder, text: str) -> None:
        vector = embedder.embed_query(text)
        assert vector.shape == (embedder.dimensions,)
        assert vector.dtype.name == "float32"
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3) or not vector.any()

    def test_a_text_has_one_vector_whatever_it_is_embedded_with(self, embedder: Embedder) -> None:
        together = embedder.embed_documents(_TEXTS)
        apart = np.concatenate([embedder.embed_documents([text]) for text in reversed(_TEXTS)])[::-1]
        # What a model computes for a text differs in the last digits with what else is in its batch.
        np.testing.assert_allclose(together, apart, atol=2e-3)

    def test_a_text_and_its_terms_have_one_vector(self, embedder: Embedder) -> None:
        if embedder.embed_terms is None:
            pytest.skip("it reads texts alone")
        by_terms = embedder.embed_terms([index_terms(text) for text in _TEXTS])
        np.testing.assert_array_equal(by_terms, embedder.embed_documents(_TEXTS))

    def test_what_a_question_is_about_is_nearest_to_it(self, embedder: Embedder) -> None:
        documents = embedder.embed_documents([_ABOUT_RETRIES, _ABOUT_COLOURS])
        about_retries, about_colours = documents @ embedder.embed_query("what is the backoff between retries")
        assert about_retries > about_colours
        about_retries, about_colours = documents @ embedder.embed_query("mix red and green")
        assert about_retries < about_colours

    def test_threads_may_share_it(self, embedder: Embedder) -> None:
        expected = embedder.embed_documents(_TEXTS)
        with ThreadPoolExecutor(4) as threads:
            for vectors in threads.map(embedder.embed_documents, [_TEXTS] * 8):
                np.testing.assert_allclose(vectors, expected, atol=2e-3)
