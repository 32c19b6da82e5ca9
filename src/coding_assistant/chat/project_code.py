"""A project's code as a conversation needs it: brought up to date, searched, and read again.

Everything below blocks; this is where it crosses over to worker threads.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from threading import Lock
from time import monotonic
from typing import TypeAlias

import anyio
from anyio import to_thread

from coding_assistant.domain import (
    FileIndexed,
    FilesCompared,
    FileSkipped,
    Hit,
    IndexEvent,
    IndexFinished,
    Indexing,
    IndexStats,
    SourceFile,
)
from coding_assistant.index import build, search
from coding_assistant.index.store import Counts, ProjectIndex
from coding_assistant.project import walk

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with how many of how many changed files are in the index."""

STEP_SECONDS = 0.1
"""A worker thread goes on for so long before it tells its progress: crossing costs more than a small file."""


class ProjectCode:
    """One project's folder and its index. Updates of the index wait for each other."""

    def __init__(self, root: Path, index_file: Path) -> None:
        self.root = root
        self._index_file = index_file
        self._index: ProjectIndex | None = None
        self._updating = anyio.Lock()
        self._opening = Lock()  # the first search and the first update may meet in two worker threads

    async def updates(self) -> AsyncGenerator[Indexing | IndexStats, None]:
        """Make the index equal the working tree: progress while it goes on, last what it holds then.

        Closing the generator stops after the present batch; what is done stays done.
        """
        async with self._updating:
            events = await to_thread.run_sync(lambda: build.update(self._open(), self.root))
            progress = Indexing(0, 0)
            try:
                while True:
                    step = await to_thread.run_sync(_advance, events, progress)
                    yield step
                    if isinstance(step, IndexStats):
                        return
                    progress = step
            finally:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(events.close)

    async def refresh(self, on_progress: OnProgress) -> IndexStats:
        """Make the index equal the working tree and return what it holds then."""
        async with aclosing(self.updates()) as updates:
            async for step in updates:
                if isinstance(step, IndexStats):
                    return step
                if step.total:
                    on_progress(step.done, step.total)
        raise AssertionError("an update of the index ends with what it holds")

    async def counts(self) -> Counts | None:
        """Return how much the index holds as it is; None when there is none yet."""
        if not self._index_file.exists():
            return None
        return await to_thread.run_sync(lambda: self._open().counts())

    async def search(self, query: str, *, limit: int) -> list[Hit]:
        """Return a result list for a reader, best first."""
        return await to_thread.run_sync(lambda: search.search(self._open(), query, limit=limit))

    async def find_sources(self, query: str, *, limit: int) -> list[Hit]:
        """Return chunks for a model to read, best first."""
        return await to_thread.run_sync(lambda: search.find_sources(self._open(), query, limit=limit))

    async def current_texts(self, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, str | None]:
        """Return today's text of files, by the same rules as indexing; None where there is none."""
        return await to_thread.run_sync(lambda: {path: self._current_text(path) for path in set(paths)})

    async def close(self) -> None:
        """Let go of the index file."""
        if self._index:
            await to_thread.run_sync(self._index.close)
            self._index = None

    def _open(self) -> ProjectIndex:
        with self._opening:
            if self._index is None:
                self._index = ProjectIndex.open(self._index_file, fingerprint=build.index_fingerprint())
            return self._index

    def _current_text(self, path: PurePosixPath) -> str | None:
        found = walk.find(self.root, path)
        file = walk.read(self.root, found) if found else None
        return file.text if isinstance(file, SourceFile) else None


def _advance(events: Iterator[IndexEvent], progress: Indexing) -> Indexing | IndexStats:
    """Go on with an update for a moment and return how far it is, or its end."""
    began = monotonic()
    done, total = progress.done, progress.total
    for event in events:
        match event:
            case FilesCompared(to_index=total):
                done = 0
                if total:
                    break
            case FileIndexed() | FileSkipped() if total:
                done += 1
            case IndexFinished(stats=stats):
                return stats
        if monotonic() - began >= STEP_SECONDS:
            break
    return Indexing(done, total)
