"""The path that may have been meant by one that is not there. Knows nothing of what is asked of it."""

import os
from collections.abc import Callable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

_MOST_NAMES = 2_000
"""Of a folder; comparing a name with so many takes a tenth of a second."""


def near_folder(path: Path) -> Path | None:
    """Return a folder whose path is like this absolute one, None if there is none."""
    return _near(path, lambda entry: entry.is_dir())


def near_file(path: Path, *, suffix: str) -> Path | None:
    """Return a file with this ending whose path is like this absolute one, None if there is none."""
    return _near(path, lambda entry: entry.name.lower().endswith(suffix) and entry.is_file())


def _near(path: Path, is_wanted: Callable[[os.DirEntry[str]], bool]) -> Path | None:
    """Go down the path, taking the nearest name for each part that is not there."""
    found = Path(path.anchor)
    *folders, last = path.parts[1:] or ("",)
    try:
        for part in folders:
            found /= _nearest(found, part, lambda entry: entry.is_dir())
        found /= _nearest(found, last, is_wanted)
    except (OSError, LookupError, ValueError):  # ValueError: a NUL in the path
        return None
    return found


def _nearest(folder: Path, name: str, is_wanted: Callable[[os.DirEntry[str]], bool]) -> str:
    """Return the name itself if it is there, else the one most like it; raise ``LookupError``."""
    if (folder / name).exists():
        return name
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, _MOST_NAMES) if is_wanted(entry)]
    close = get_close_matches(name, names, n=1)
    if not close:
        raise LookupError(name)
    return close[0]
