"""semble 0.7.0 from its package. Its model can be had from its hub alone, so two things stand in for it.

An embedder of ours, for how well its chunking, fusion and ranking find; the published figures, of its model,
stand beside in the tables. And a model of the same kind and size with random vectors, for how fast it is.
"""

import os
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from model2vec import StaticModel
from semble import SembleIndex
from semble.index.create import create_index_from_path
from semble.index.types import PreviousIndex
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from coding_assistant.protocols import Embedder, Vectors
from retrieval_bench.adapters.adapter import MOST_SPANS, BuildCosts, folder_bytes
from retrieval_bench.spans import Budget, Span

DIMENSIONS = 256  # as its model has
_WORD = re.compile("[a-z]+")


@dataclass(frozen=True, slots=True)
class _Model:
    """An embedder in the shape that semble expects of a model."""

    embedder: Embedder

    @property
    def dim(self) -> int:
        return self.embedder.dimensions

    def encode(self, texts: Sequence[str], **for_documents: object) -> Vectors:
        """Embed code or a question: semble gives options with the first and none with the second."""
        if for_documents:
            return self.embedder.embed_documents(texts)
        return np.stack([self.embedder.embed_query(text) for text in texts])


class Semble:
    """semble's index, built and searched through its library."""

    def __init__(self, embedder: Embedder) -> None:
        self._model: Any = _Model(embedder)  # it asks for its library's class, and uses these members of it

    def build(self, root: Path, workspace: Path) -> BuildCosts:
        """Index the folder, and save the index as its command would."""
        os.environ["SEMBLE_CACHE_LOCATION"] = str(workspace)  # it notes every search in its cache folder
        self._root = root.resolve()
        self._index, self._previous = self._indexed(None)
        self._index.save(workspace)
        stats = self._index.stats
        return BuildCosts(stats.indexed_files, stats.total_chunks, folder_bytes(workspace))

    def refresh(self) -> None:
        """Index what changed, with what is in memory; its command would first read the index from disk."""
        self._index, self._previous = self._indexed(self._previous)

    def search(self, query: str, limit: int) -> Sequence[Span]:
        """Search with its defaults."""
        results = self._index.search(query, top_k=limit)
        return [
            Span(
                PurePosixPath(result.chunk.file_path),
                result.chunk.start_line,
                result.chunk.end_line,
                result.chunk.content,
            )
            for result in results
        ]

    def sources(self, query: str, _budget: Budget, *, context: str = "") -> Sequence[Span]:
        """Return the same as ``search``."""
        return self.search(f"{query} {context}", MOST_SPANS)

    def close(self) -> None:
        """Keep nothing open."""

    def _indexed(self, previous: PreviousIndex | None) -> tuple[SembleIndex, PreviousIndex]:
        bm25, semantic, chunks, manifest = create_index_from_path(
            self._root, model=self._model, display_root=self._root, previous=previous
        )
        index = SembleIndex(
            self._model, bm25, semantic, chunks, "stand-in", root=self._root, manifest=manifest
        )
        return index, PreviousIndex(chunks, semantic.vectors, manifest, bm25)


class SembleForTiming(Semble):
    """semble with random vectors from its own library: for what it takes, not for what it finds."""

    def __init__(self) -> None:
        self._model = _random_model()


def _random_model() -> StaticModel:
    """Return a model of the words of Python's standard library, so that most words of code are one piece."""
    library = Path(os.__file__).parent
    texts = (file.read_text(errors="replace").lower() for file in sorted(library.glob("*.py")))
    words = dict.fromkeys(word for text in texts for word in _WORD.findall(text))
    pieces = dict.fromkeys(("[UNK]", *string.printable.strip(), *words))
    pieces |= dict.fromkeys(f"##{piece}" for piece in tuple(pieces)[1:])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106  -- a word, no password
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    vectors = np.random.default_rng(0).standard_normal((len(vocabulary), DIMENSIONS), dtype=np.float32)
    return StaticModel(vectors, tokenizer, normalize=True)
