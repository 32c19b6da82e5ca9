"""Indexes of small projects for tests: real files, real SQLite, the real chunker."""

import time
from collections.abc import Iterable
from pathlib import Path

from coding_assistant.domain import IndexEvent, IndexFinished, IndexStats
from coding_assistant.index.build import update
from coding_assistant.index.search import search
from coding_assistant.index.store import ProjectIndex


def an_hour_later_ns() -> int:
    """Return a time at which every file that was just written has settled."""
    return time.time_ns() + 3_600_000_000_000


def bring_up_to_date(index: ProjectIndex, root: Path) -> IndexStats:
    """Update the index to the end and return what that did."""
    return _stats(update(index, root))


def bring_settled(index: ProjectIndex, root: Path) -> IndexStats:
    """Do the same as if all files had been left alone for an hour, so that their stamps are trusted."""
    return _stats(update(index, root, now_ns=an_hour_later_ns))


def _stats(events: Iterable[IndexEvent]) -> IndexStats:
    (finished,) = (event for event in events if isinstance(event, IndexFinished))
    return finished.stats


def paths_found(index: ProjectIndex, query: str) -> set[str]:
    """Return the files that a search for the query finds."""
    return {hit.chunk.path.as_posix() for hit in search(index, query, limit=100)}
