"""Plain BM25 (bm25s) over the product's chunks and the product's terms: what ranking and vectors add to."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import bm25s

from coding_assistant.domain import FoundFile, SourceFile
from coding_assistant.index.store import IndexedFile
from coding_assistant.project.chunk import chunk
from coding_assistant.project.walk import open_root, read, walk
from coding_assistant.terms import query_terms
from retrieval_bench.adapters.adapter import MOST_SPANS, BuildCosts, folder_bytes
from retrieval_bench.adapters.ours import span_of
from retrieval_bench.spans import Budget, Span


class PlainBM25:
    """Path, symbol and text of a chunk as one bag of words, scored with the library's defaults."""

    def build(self, root: Path, workspace: Path) -> BuildCosts:
        """Cut and index the folder."""
        self._root, self._workspace = root, workspace
        self.refresh()
        return BuildCosts(
            len({piece.path for piece in self._chunks}), len(self._chunks), folder_bytes(workspace)
        )

    def refresh(self) -> None:
        """Index anew: the library cannot change an index."""
        files = list(_indexed_files(self._root))
        self._chunks = [piece for file in files for piece in file.chunks]
        words = [
            f"{terms.path} {terms.symbol} {terms.body}".split() for file in files for terms in file.terms
        ]
        self._retriever = bm25s.BM25()
        self._retriever.index(words, show_progress=False)
        self._retriever.save(self._workspace)

    def search(self, query: str, limit: int) -> Sequence[Span]:
        """Return the chunks with a score, best first."""
        terms = list(query_terms(query).terms)
        if not terms:
            return []
        numbers, scores = self._retriever.retrieve(
            [terms], k=min(limit, len(self._chunks)), show_progress=False
        )
        found = zip(numbers[0], scores[0], strict=True)
        return [span_of(self._chunks[number]) for number, score in found if score > 0]

    def sources(self, query: str, _budget: Budget, *, context: str = "") -> Sequence[Span]:
        """Return the same as ``search``."""
        return self.search(f"{query} {context}", MOST_SPANS)

    def close(self) -> None:
        """Keep nothing open."""


def _indexed_files(root: Path) -> Iterator[IndexedFile]:
    """Yield the files with their chunks and terms as the product would index them."""
    root = open_root(root)
    for found in walk(root):
        if not isinstance(found, FoundFile):
            continue
        file = read(root, found)
        if isinstance(file, SourceFile):
            yield IndexedFile.of(file, found.stamp, chunk(file))
