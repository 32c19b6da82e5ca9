"""Indexes of small projects for tests: real files, real SQLite, the real chunker."""

from pathlib import Path

from coding_assistant.domain import IndexFinished, IndexStats
from coding_assistant.index.build import update
from coding_assistant.index.search import search
from coding_assistant.index.store import ProjectIndex


def bring_up_to_date(index: ProjectIndex, root: Path) -> IndexStats:
    """Update the index to the end and return what that did."""
    (finished,) = (event for event in update(index, root) if isinstance(event, IndexFinished))
    return finished.stats


def paths_found(index: ProjectIndex, query: str) -> set[str]:
    """Return the files that a search for the query finds."""
    return {hit.chunk.path.as_posix() for hit in search(index, query, limit=100)}
