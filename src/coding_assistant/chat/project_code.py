"""A project's code as a conversation needs it: brought up to date, searched, and read again.

Everything below blocks; this is where it crosses over to worker threads.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PurePosixPath
from threading import Lock
from time import monotonic
from typing import TypeAlias, TypeVar

import anyio
from anyio import to_thread

from coding_assistant.domain import (
    ChunksEmbedded,
    FileIndexed,
    FilesCompared,
    FileSkipped,
    Hit,
    Indexed,
    IndexEvent,
    IndexFinished,
    Indexing,
    IndexStats,
    ModelLoading,
    SearchMode,
    SourceFile,
)
from coding_assistant.errors import Conflict, EngineFailed, InvalidRequest, NotReady
from coding_assistant.index import build
from coding_assistant.index.embed import embed_missing
from coding_assistant.index.known_files import Counts, FileProblem
from coding_assistant.index.overview import MainParts, main_parts
from coding_assistant.index.search import Searcher
from coding_assistant.index.store import ProjectIndex
from coding_assistant.index.upkeep import AT_ONCE, Pace, Upkeep, current_hits
from coding_assistant.project import walk
from coding_assistant.protocols import Embedder

logger = logging.getLogger(__name__)

_Event = TypeVar("_Event")
_Step: TypeAlias = Indexing | IndexStats

OnProgress: TypeAlias = Callable[[Indexing | ModelLoading], None]
"""Called with how far an update is, and when what follows it waits for a model."""

EMBEDDING_MODEL = "the embedding model"
"""Its name while somebody waits for it."""

VECTOR_SECONDS = 3.0
"""A question waits so long for vectors: enough for 30,000 chunks of the static embedder. A slower one goes on
in the background, and until it is done words find what vectors cannot."""

STEP_SECONDS = 0.1
"""A worker thread goes on for so long before it tells its progress: crossing costs more than a small file."""


class ProjectCode:
    """One project's folder and its index. Updates of the index wait for each other."""

    def __init__(self, root: Path, index_file: Path, *, embedder: Embedder | None = None) -> None:
        self.root = root
        self._index_file = index_file
        self._embedder = embedder
        self._index: ProjectIndex | None = None
        self._upkeep = Upkeep(root)
        self._may_lack_vectors = False  # an update was left before its end
        self._updating = anyio.Lock()
        self._waiting = 0  # updates that wait for another
        self._opening = Lock()  # the first search and the first update may meet in two worker threads

    @property
    def index_bytes(self) -> int:
        """What the index takes on the disk, with what stands beside it; 0 while there is none."""
        return sum(file.stat().st_size for file in self._index_file.parent.glob(f"{self._index_file.name}*"))

    @property
    def is_watching(self) -> bool:
        """Whether changes are told, so that only they are looked at."""
        return self._upkeep.is_watching

    @property
    def is_due(self) -> bool:
        """Whether the index has not been brought up to date here to the end, or changes were told since."""
        return self._upkeep.is_due or self._may_lack_vectors

    async def begin_watching(self, *, unheeded: Collection[Path] = ()) -> None:
        """Have changes told, so that only they are looked at; ``SystemLacks`` where that cannot be had."""
        await to_thread.run_sync(lambda: self._upkeep.begin_watching(unheeded=unheeded))

    async def updates(
        self, *, pace: Pace = AT_ONCE, vector_seconds: float | None = None
    ) -> AsyncGenerator[Indexing | IndexStats, None]:
        """Make the index equal the working tree: progress while it goes on, last what it holds then.

        With ``vector_seconds``, chunks that have no vector after that time are left for another update.
        Closing the generator stops after the present batch; what is done stays done.
        """
        async with self._turn():
            stats: IndexStats | None = None
            updating = _steps(lambda: self._upkeep.update(self._open(), pace=pace), _advance)
            async with aclosing(updating):
                async for step in updating:
                    if isinstance(step, IndexStats):
                        stats = step
                    else:
                        yield step
            embedding = self._embeddings(vector_seconds)
            async with aclosing(embedding):
                async for step in embedding:
                    yield step
            if stats is not None:
                yield stats

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        """Wait until no other update goes on; one that only embeds makes way."""
        self._waiting += 1
        try:
            await self._updating.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._updating.release()

    async def _embeddings(self, most_seconds: float | None) -> AsyncGenerator[_Step, None]:
        """Give vectors to the chunks that lack them, within so many seconds."""
        embedder = self._embedder
        if embedder is None:
            return
        began = monotonic()
        self._may_lack_vectors = True
        embedding = _steps(lambda: embed_missing(self._open(), embedder), _advance_embedding)
        async with aclosing(embedding):
            try:
                async for step in embedding:
                    yield step
                    is_late = most_seconds is not None and monotonic() - began > most_seconds
                    if is_late or self._waiting:
                        return
            except Conflict:  # another process wants other vectors: words alone find well enough meanwhile
                pass
            except (EngineFailed, NotReady) as error:
                logger.warning("chunks are left without vectors: %s", error.code)
        self._may_lack_vectors = False

    async def refresh(self, on_progress: OnProgress) -> IndexStats:
        """Make the index equal the working tree for a search, and return what it holds then.

        The progress ends with ``ModelLoading`` if that search will have to load the embedder's model.
        """
        async with aclosing(self.updates(vector_seconds=VECTOR_SECONDS)) as updates:
            async for step in updates:
                if isinstance(step, IndexStats):
                    if self._embedder is not None and not self._embedder.is_loaded:
                        on_progress(ModelLoading(EMBEDDING_MODEL))
                    return step
                if step.total:
                    on_progress(step)
        raise AssertionError("an update of the index ends with what it holds")

    async def counts(self) -> Counts | None:
        """Return how much the index holds as it is; None when there is none yet."""
        if not self._index_file.exists():
            return None
        return await to_thread.run_sync(lambda: self._open().counts())

    async def count_with_vectors(self) -> int:
        """Return how many chunks have a vector of the embedder in use; changes nothing."""
        embedder = self._embedder
        if embedder is None or not self._index_file.exists():
            return 0
        return await to_thread.run_sync(lambda: self._open().count_with_vectors(embedder.fingerprint))

    async def count_outdated(self) -> int:
        """Return how many files the next update will look into, or find gone; changes nothing."""
        return await to_thread.run_sync(lambda: build.count_outdated(self._open(), self.root))

    async def main_parts(self) -> MainParts:
        """Return what tells most of the project as a whole."""
        return await to_thread.run_sync(lambda: main_parts(self._open()))

    async def problems(self) -> list[FileProblem]:
        """Return every file that the index lacks or holds without its syntax, and why, in order."""
        return await to_thread.run_sync(lambda: self._open().problems())

    async def search(self, query: str, *, limit: int, mode: SearchMode = SearchMode.HYBRID) -> list[Hit]:
        """Return a result list for a reader, best first; each hit is what its file holds now.

        ``InvalidRequest``: vectors are to be searched, and there is no embedder.
        """
        if mode is SearchMode.VECTOR and self._embedder is None:
            raise InvalidRequest(
                "There are no vectors to search: the setting embedder is none.",
                hint="Search by words (--mode text), or set embedder to static.",
            )
        return await self._current_hits(lambda searcher: searcher.search(query, limit=limit, mode=mode))

    async def find_sources(self, query: str, *, context: str = "", limit: int) -> list[Hit]:
        """Return chunks for a model to read, best first; each is what its file holds now.

        The words of ``context`` help to find, and have no say in how what was found is ranked.
        """
        return await self._current_hits(
            lambda searcher: searcher.find_sources(query, limit=limit, context=context)
        )

    async def _current_hits(self, find: Callable[[Searcher], list[Hit]]) -> list[Hit]:
        return await to_thread.run_sync(lambda: self._searched(find))

    def _searched(self, find: Callable[[Searcher], list[Hit]]) -> list[Hit]:
        index = self._open()
        try:
            return current_hits(index, self.root, lambda: find(Searcher(index, self._embedder)))
        except (EngineFailed, NotReady) as error:
            logger.warning("searched by words alone: %s", error.code)
            return current_hits(index, self.root, lambda: find(Searcher(index)))

    async def absent_words(self, words: Collection[str]) -> frozenset[str]:
        """Return the words that stand nowhere in the project, in whatever form, alone or in a name."""
        return await to_thread.run_sync(lambda: self._open().absent_words(words)) if words else frozenset()

    async def absent_names(self, names: Collection[str]) -> frozenset[str]:
        """Return the names that stand nowhere in the project as they are written."""
        return await to_thread.run_sync(lambda: self._open().absent_names(names)) if names else frozenset()

    async def current_texts(self, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, str | None]:
        """Return today's text of files, by the same rules as indexing; None where there is none."""
        return await to_thread.run_sync(lambda: {path: self._current_text(path) for path in set(paths)})

    async def close(self) -> None:
        """Stop watching, and let go of the index file."""
        await to_thread.run_sync(self._upkeep.close)
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


async def _steps(
    begin: Callable[[], Generator[_Event, None, None]],
    advance: Callable[[Iterator[_Event], _Step | None], _Step | None],
) -> AsyncGenerator[_Step, None]:
    """Go through events in worker threads, a moment at a time, until there is no step more.

    Each step is told the one before.
    """
    events = await to_thread.run_sync(begin)
    step: _Step | None = None
    try:
        while (step := await to_thread.run_sync(advance, events, step)) is not None:
            yield step
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(events.close)


def _advance(events: Iterator[IndexEvent], before: _Step | None) -> _Step | None:
    """Go on with an update for a moment and return how far it is, or its end; None after that."""
    began = monotonic()
    done, total = (before.done, before.total) if isinstance(before, Indexing) else (0, 0)
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
    return None if isinstance(before, IndexStats) else Indexing(done, total)


def _advance_embedding(events: Iterator[ChunksEmbedded], _before: _Step | None) -> _Step | None:
    """Go on embedding for a batch and return how far it is; None at the end."""
    event = next(events, None)
    return Indexing(event.done, event.total, what=Indexed.VECTORS) if event else None
