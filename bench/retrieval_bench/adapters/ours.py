"""Ours. All that the benchmark knows of the product's search is in this module."""

from collections.abc import Sequence
from pathlib import Path

import anyio

from coding_assistant.chat import deeper
from coding_assistant.chat.query import SearchText
from coding_assistant.domain import Chunk, Hit, IndexFinished, SearchMode
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.embed import embed_missing
from coding_assistant.index.search import Searcher
from coding_assistant.index.store import ProjectIndex
from retrieval_bench.adapters.adapter import BuildCosts, folder_bytes
from retrieval_bench.spans import Budget, Span


class _Ours:
    """Our index, searched in one of the product's modes."""

    def __init__(self, mode: SearchMode) -> None:
        self._mode = mode
        self._embedder = None if mode is SearchMode.TEXT else StaticEmbedder.load()

    def build(self, root: Path, workspace: Path) -> BuildCosts:
        """Index the folder as the product does."""
        self._root = root
        self._index = ProjectIndex.open(workspace / "index.sqlite", fingerprint=index_fingerprint())
        stats = next(event for event in update(self._index, root) if isinstance(event, IndexFinished)).stats
        self._embed()
        self._searcher = Searcher(self._index, self._embedder)
        return BuildCosts(stats.files, stats.chunks, folder_bytes(workspace))

    def refresh(self) -> None:
        """Update the index as the product does before every question."""
        for _ in update(self._index, self._root):
            pass
        self._embed()

    def search(self, query: str, limit: int) -> Sequence[Span]:
        """Search as for a result list."""
        return _spans(self._searcher.search(query, limit=limit, mode=self._mode))

    def sources(self, query: str, budget: Budget, *, context: str = "") -> Sequence[Span]:
        """Search as for an answer: with names from what is found first, where the product does.

        A follow-up, too, gets the whole budget, half of which it has in the product.
        """
        search = SearchText(query, context)
        reach = deeper.Reach(budget.tokens, cost=lambda chunk: budget.cost(span_of(chunk)))
        return _spans(anyio.run(deeper.find_hits, search, self, reach))

    async def find_sources(self, query: str, *, context: str = "", limit: int) -> list[Hit]:
        """Search once."""
        return self._searcher.find_sources(query, limit=limit, mode=self._mode, context=context)

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def _embed(self) -> None:
        if self._embedder is not None:
            for _ in embed_missing(self._index, self._embedder):
                pass


class OursHybrid(_Ours):
    """As the product searches unless it is told otherwise."""

    def __init__(self) -> None:
        super().__init__(SearchMode.HYBRID)


class OursText(_Ours):
    """By words alone, and indexed without vectors."""

    def __init__(self) -> None:
        super().__init__(SearchMode.TEXT)


class OursVectors(_Ours):
    """By vectors alone."""

    def __init__(self) -> None:
        super().__init__(SearchMode.VECTOR)


def _spans(hits: Sequence[Hit]) -> list[Span]:
    return [span_of(hit.chunk) for hit in hits]


def span_of(chunk: Chunk) -> Span:
    """Return a chunk as what is shown of it."""
    shown = "\n".join((*(line.text for line in chunk.context), chunk.text))
    return Span(chunk.path, chunk.start_line, chunk.end_line, shown)
