"""When a folder's files change: what ``index --watch`` waits for. It knows nothing of indexes."""

from collections.abc import Generator
from pathlib import Path

from coding_assistant.domain import SkippedFile, SkipReason
from coding_assistant.errors import SystemLacks
from coding_assistant.project.walk import walk

DEBOUNCE_MILLISECONDS = 1_000
"""Changes that follow each other as quickly are one: a checkout, a build, a save of many files."""

FIRST_WAIT_MILLISECONDS = 5_000
_UNREAD = frozenset({SkipReason.IGNORED, SkipReason.LINK})


def changes(root: Path, *, data_directory: Path) -> Generator[None, None, None]:
    """Yield whenever something has changed that a walk of the root would see, until Ctrl-C.

    The first comes after some seconds in any case, for what changed before the watching began. What is
    ignored does not count, nor does the data directory, where an update itself writes. Raises
    ``SystemLacks`` where the system cannot watch so much.
    """
    from watchfiles import Change, watch  # noqa: PLC0415  -- native code that no other command needs

    unread = unread_places(root, data_directory=data_directory)

    def counts(_change: Change, path: str) -> bool:
        return not lies_in(Path(path), unread)

    first = True
    try:
        for changed in watch(
            root,
            watch_filter=counts,
            debounce=DEBOUNCE_MILLISECONDS,
            rust_timeout=FIRST_WAIT_MILLISECONDS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            if not changed and not first:
                continue
            first = False
            unread = unread_places(root, data_directory=data_directory)  # an ignore file may have changed
            yield
    except OSError as error:
        raise SystemLacks(
            f"The system cannot watch {root}: {error}.",
            hint="Linux limits the folders that are watched: see fs.inotify.max_user_watches.",
        ) from error


def unread_places(root: Path, *, data_directory: Path) -> frozenset[Path]:
    """Return the files and folders that a walk passes over whatever is in them, and our own folder."""
    passed_over = (each for each in walk(root) if isinstance(each, SkippedFile) and each.reason in _UNREAD)
    return frozenset((data_directory.resolve(), *(root / each.path for each in passed_over)))


def lies_in(path: Path, places: frozenset[Path]) -> bool:
    """Return whether a path is one of the places or below one."""
    return any(each in places for each in (path, *path.parents))
