"""What has changed in a folder, as the system tells it: so that not everything need be looked at again.

The system tells of changes a moment after they have happened, in their order. Whoever asks must not miss one
that came before: therefore a file is made in a folder of our own, and when the system tells of that, it has
told of everything before it. Nothing is written in the project. It knows nothing of indexes.
"""

import threading
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from time import monotonic

from coding_assistant.errors import SystemLacks
from coding_assistant.project.walk import ALWAYS_IGNORED_FOLDERS, EXCLUDE_FILE

# Changes are handed over when none has come for so long, and at the latest after the second figure.
_STEP_MILLISECONDS = 20
_DEBOUNCE_MILLISECONDS = 200
# The system's queue holds 16,384 changes on Linux and drops what comes then. Long before that, looking at
# everything is no dearer than looking at each.
MOST_CHANGES = 2_000
_MARK_AGAIN_SECONDS = 0.2
# Setting up a watch takes 1 s for 100,000 files in 40,000 folders.
_START_SECONDS = 30.0
PATIENCE_SECONDS = 1.0


class FolderWatch:
    """Notes what changes in a folder until it is closed; ``SystemLacks`` if the system cannot watch so much.

    For several threads. ``unheeded`` are folders whose changes do not count, such as one that is written when
    somebody acts on changes.
    """

    def __init__(self, root: Path, *, unheeded: Iterable[Path] = ()) -> None:
        self._root = root
        self._identity = _identity(root)
        self._unheeded = frozenset(folder.resolve() for folder in unheeded)
        try:
            self._marks = TemporaryDirectory(prefix="coding-assistant-", ignore_cleanup_errors=True)
        except OSError as error:
            raise self._refusal(str(error)) from error
        self._mark_folder = Path(self._marks.name).resolve()
        self._last_mark = 0
        self._seen_mark = 0
        self._changed: set[PurePosixPath] = set()
        self._is_lost = False
        self._failure: str | None = None
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="folder-watch", daemon=True)
        self._thread.start()
        if not self._told_everything(_START_SECONDS):
            self.close()
            raise self._refusal(self._failure)

    @property
    def has_failed(self) -> bool:
        """Whether nothing will be told any more, as after the folder was replaced: only a new watch helps."""
        if _identity(self._root) != self._identity:
            self._fail("it is no longer the same folder")
        with self._news:
            return self._failure is not None

    @property
    def has_news(self) -> bool:
        """Whether something has changed, or may have, since it was last asked what."""
        has_failed = self.has_failed
        with self._news:
            return bool(self._changed) or self._is_lost or has_failed

    def take(self) -> set[PurePosixPath] | None:
        """Return the files and folders that have changed since the last time; None if that is not known.

        A folder that came, went or was renamed may stand for everything in it.
        """
        told = self._told_everything(PATIENCE_SECONDS) and not self.has_failed
        with self._news:
            changed, self._changed = self._changed, set()
            is_lost, self._is_lost = self._is_lost, False
        return changed if told and not is_lost else None

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()
        self._marks.cleanup()

    def _told_everything(self, patience_seconds: float) -> bool:
        """Wait until the system has told of all that has happened so far."""
        ends_at = monotonic() + patience_seconds
        with self._news:
            first = self._last_mark + 1
            while self._seen_mark < first and self._failure is None:
                left = ends_at - monotonic()
                if left <= 0:
                    return False
                self._last_mark += 1
                mark = self._mark_folder / str(self._last_mark)
                try:
                    mark.touch()
                    self._news.wait(min(left, _MARK_AGAIN_SECONDS))
                    mark.unlink(missing_ok=True)
                except OSError as error:  # the disk is full, or somebody tidied up temporary files
                    self._fail(str(error))
            return self._failure is None

    def _fail(self, reason: str) -> None:
        with self._news:
            if self._failure is None:
                self._failure = reason
            self._news.notify_all()

    def _refusal(self, reason: str | None) -> SystemLacks:
        return SystemLacks(
            f"The system cannot watch {self._root}: {reason or 'it tells of no changes'}.",
            hint="Linux limits the folders that are watched: see fs.inotify.max_user_watches.",
        )

    def _listen(self) -> None:
        from watchfiles import Change, watch  # noqa: PLC0415  -- native code that few commands need

        try:
            for changes in watch(
                self._root,
                self._mark_folder,
                watch_filter=None,
                debounce=_DEBOUNCE_MILLISECONDS,
                step=_STEP_MILLISECONDS,
                stop_event=self._stop,
                ignore_permission_denied=True,
            ):
                if (Change.deleted, str(self._root)) in changes:  # or moved
                    self._fail("it was moved or deleted")
                self._note([Path(path) for _, path in changes])
        except (OSError, RuntimeError) as error:  # RuntimeError: what the native code calls internal
            self._fail(str(error))

    def _note(self, paths: Iterable[Path]) -> None:
        with self._news:
            for path in paths:
                if path.parent == self._mark_folder:
                    self._seen_mark = max(self._seen_mark, int(path.name))
                elif (changed := self._of_project(path)) is not None:
                    self._changed.add(changed)
            if len(self._changed) > MOST_CHANGES:
                self._changed.clear()
                self._is_lost = True
            self._news.notify_all()

    def _of_project(self, path: Path) -> PurePosixPath | None:
        """Return the path within the project; None for what no walk would come to."""
        if not self._unheeded.isdisjoint((path, *path.parents)) or not path.is_relative_to(self._root):
            return None
        relative = PurePosixPath(path.relative_to(self._root))
        is_hidden = relative != EXCLUDE_FILE and any(
            part in ALWAYS_IGNORED_FOLDERS for part in relative.parts
        )
        return None if is_hidden else relative


def _identity(root: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another that exists beside it.

    One that is made after the other's end may have the same; that end the system tells.
    """
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
