"""Ours. All that the benchmark knows of the product's search is in this module."""

from collections.abc import Sequence
from pathlib import Path

from coding_assistant.domain import Chunk, Hit, IndexFinished
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.search import find_sources, search
from coding_assistant.index.store import ProjectIndex
from retrieval_bench.adapters.adapter import BuildCosts, folder_bytes
from retrieval_bench.spans import Span


class OursText:
    """Our index, searched by text alone."""

    def build(self, root: Path, workspace: Path) -> BuildCosts:
        """Index the folder as the product does."""
        self._root = root
        self._index = ProjectIndex.open(workspace / "index.sqlite", fingerprint=index_fingerprint())
        stats = next(event for event in update(self._index, root) if isinstance(event, IndexFinished)).stats
        return BuildCosts(stats.files, stats.chunks, folder_bytes(workspace))

    def refresh(self) -> None:
        """Update the index as the product does before every question."""
        for _ in update(self._index, self._root):
            pass

    def search(self, query: str, limit: int) -> Sequence[Span]:
        """Search as for a result list."""
        return _spans(search(self._index, query, limit=limit))

    def sources(self, query: str, limit: int) -> Sequence[Span]:
        """Search as for an answer."""
        return _spans(find_sources(self._index, query, limit=limit))

    def close(self) -> None:
        """Close the index."""
        self._index.close()


def _spans(hits: Sequence[Hit]) -> list[Span]:
    return [span_of(hit.chunk) for hit in hits]


def span_of(chunk: Chunk) -> Span:
    """Return a chunk as what is shown of it."""
    shown = "\n".join((*(line.text for line in chunk.context), chunk.text))
    return Span(chunk.path, chunk.start_line, chunk.end_line, shown)
