"""The one shape that everything measured here has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from retrieval_bench.spans import Budget, Span

MOST_SPANS = 100
"""Enough for ten files, and more sources than any budget holds."""


@dataclass(frozen=True, slots=True)
class BuildCosts:
    """What an index holds and takes; ``index_bytes`` as kept on disk, 0 for what has no index."""

    files: int
    chunks: int
    index_bytes: int


class Adapter(Protocol):
    """A way to search a folder."""

    def build(self, root: Path, workspace: Path) -> BuildCosts:
        """Index the folder; what is to be kept goes into the workspace, an empty folder."""
        ...

    def refresh(self) -> None:
        """Bring the index up to date after files of the folder have changed, by the cheapest way there is."""
        ...

    def search(self, query: str, limit: int) -> Sequence[Span]:
        """Return at most ``limit`` spans as a list to choose from."""
        ...

    def sources(self, query: str, budget: Budget, *, context: str = "") -> Sequence[Span]:
        """Return spans for a model to read, best first, as many as it has or more than there is room for.

        ``context`` are words of a conversation that a follow-up leans on.
        """
        ...

    def close(self) -> None:
        """Let go of the index."""
        ...


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below the folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
