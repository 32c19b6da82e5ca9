"""Keeps a search true to the working tree: what is looked at before it, and what is checked after it.

It does not know how a search is made, nor how files are read.
"""

from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from time import monotonic

from coding_assistant.domain import Hit, IndexEvent, IndexFinished, SourceFile
from coding_assistant.errors import IndexMissing, SystemLacks
from coding_assistant.index import build
from coding_assistant.index.known_files import Part
from coding_assistant.index.store import ProjectIndex
from coding_assistant.project import walk
from coding_assistant.project.changes import FolderWatch

# Some file systems tell of nothing that another machine does to them.
_LOOK_AGAIN_SECONDS = 600.0

# Files may go on changing while they are searched; then what is stale is left out.
_SEARCHES = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """How an update goes on: after how long it commits and can be left, and its child's niceness."""

    batch_seconds: float
    niceness: int


AT_ONCE = Pace(build.BATCH_SECONDS, niceness=0)
"""Somebody waits for it."""
IN_BACKGROUND = Pace(batch_seconds=0.3, niceness=15)
"""Nobody waits for it, but somebody may come."""


class Upkeep:
    """Knows how much of a folder must be looked at for its index to be up to date: all of it without a watch.

    One update at a time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._watch: FolderWatch | None = None
        self._unheeded: Collection[Path] | None = None  # None: nobody wants a watch
        self._renewing = Lock()  # an update and ``begin_watching`` may meet in two threads
        self._whole: str | None = None  # the generation of the index that equalled the tree at some time
        self._looked_at_all = 0.0

    @property
    def is_watching(self) -> bool:
        """Whether changes are told."""
        return self._watch is not None

    @property
    def is_due(self) -> bool:
        """Whether an update has never come to its end here, or there are, or may be, changes since."""
        watch = self._watch
        if watch is None:
            return self._whole is None or self._unheeded is not None  # a watch was lost: changes go untold
        return self._whole is None or watch.has_news

    def begin_watching(self, *, unheeded: Collection[Path] = ()) -> None:
        """Have changes told from now on; ``SystemLacks`` if the system cannot watch so much.

        Should the watch fail later, the next update makes another.
        """
        with self._renewing:
            if self._watch is not None and self._watch.has_failed:
                self._drop_watch()
            if self._watch is None:
                watch = FolderWatch(walk.open_root(self._root), unheeded=unheeded)
                self._watch, self._whole = watch, None  # something may have changed before
                self._unheeded = unheeded

    def close(self) -> None:
        """Stop watching."""
        with self._renewing:
            self._unheeded = None
            self._drop_watch()

    def _drop_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def update(self, index: ProjectIndex, *, pace: Pace = AT_ONCE) -> Generator[IndexEvent, None, None]:
        """Make the index equal the working tree, as ``build.update`` does, looking at no more than needed."""
        # Until this has come to its end; before changes are taken, for they are told but once.
        whole, self._whole = self._whole, None
        watch, changed = self._told()
        generation = _generation(index)
        is_recent = monotonic() - self._looked_at_all < _LOOK_AGAIN_SECONDS
        if whole is None or whole != generation or not is_recent:
            changed = None
        if changed is None:
            self._looked_at_all = monotonic()
        events = build.update(
            index,
            self._root,
            only=changed,
            batch_seconds=pace.batch_seconds,
            niceness=pace.niceness,
        )
        for event in events:
            if isinstance(event, IndexFinished):
                finished = _generation(index)
                with self._renewing:
                    if watch is self._watch and finished == generation:
                        self._whole = finished
            yield event

    def _told(self) -> tuple[FolderWatch | None, set[PurePosixPath] | None]:
        """Return what has changed, None if that is not known, and the watch that tells what comes after."""
        watch = self._watch
        changed = watch.take() if watch is not None else None
        if self._unheeded is not None:
            with suppress(SystemLacks):  # then everything is looked at
                self.begin_watching(unheeded=self._unheeded)
        renewed = self._watch
        return renewed, changed if renewed is watch else None


def _generation(index: ProjectIndex) -> str | None:
    """Return the index's generation; None if it was deleted meanwhile, and has been begun anew."""
    try:
        return index.generation()
    except IndexMissing:
        return None


def current_hits(index: ProjectIndex, root: Path, find: Callable[[], list[Hit]]) -> list[Hit]:
    """Search, and return only what the files hold at this moment: those that do not are read again.

    A file is taken for unchanged if its stamp is; otherwise its text is compared. An index that is deleted
    meanwhile is made again.
    """
    stale: set[PurePosixPath] | None = set()  # None: everything
    hits: list[Hit] = []
    for _ in range(_SEARCHES):
        if stale is None or stale:
            for _event in build.update(index, root, only=stale):
                pass
        try:
            newest = index.newest_chunk()
            hits = find()
            stale = stale_files(index, root, {hit.chunk.path for hit in hits})
            is_settled = not stale and index.newest_chunk() == newest
        except IndexMissing:
            hits, stale, is_settled = [], None, False
        if is_settled:
            return hits
    return [hit for hit in hits if not stale or hit.chunk.path not in stale]


def stale_files(index: ProjectIndex, root: Path, paths: Collection[PurePosixPath]) -> set[PurePosixPath]:
    """Return those of the files whose text is not what the index holds of them, or that are no more."""
    known = index.stamps(Part(paths)) if paths else {}
    stale = set()
    for path in paths:
        found = walk.find(root, path)
        if found is None or path not in known:
            stale.add(path)
            continue
        stamp, digest = known[path]
        if found.stamp != stamp:
            file = walk.read(root, found)
            if not isinstance(file, SourceFile) or file.digest != digest:
                stale.add(path)
    return stale
