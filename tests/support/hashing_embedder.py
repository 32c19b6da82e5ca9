"""A small embedder: a text's vector is the sum of its words', and a word's is drawn from its hash."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from coding_assistant.protocols import Vectors
from coding_assistant.terms import index_terms


class HashingEmbedder:
    """Texts that share words have vectors that are near; another ``seed`` is another embedder.

    ``texts`` are all that it was ever given to embed.
    """

    def __init__(self, dimensions: int = 32, *, seed: int = 0) -> None:
        self._dimensions = dimensions
        self._seed = seed
        self.texts: list[str] = []

    @property
    def fingerprint(self) -> str:
        return f"hashing-{self._dimensions}-{self._seed}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def is_instant(self) -> bool:
        return True

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return np.array([self._embed(text) for text in texts], np.float32).reshape(-1, self._dimensions)

    @property
    def is_loaded(self) -> bool:
        return True

    @property
    def embed_terms(self) -> None:
        pass

    def embed_query(self, text: str) -> Vectors:
        return self._embed(text)

    def close(self) -> None:
        pass

    def _embed(self, text: str) -> Vectors:
        total = np.zeros(self._dimensions)
        for word, count in Counter(index_terms(text).split()).items():
            digest = hashlib.blake2b(f"{self._seed} {word}".encode(), digest_size=8).digest()
            drawn = np.random.default_rng(int.from_bytes(digest)).standard_normal(self._dimensions)
            total += count * drawn
        length = np.linalg.norm(total)
        return (total / length if length else total).astype(np.float32)
