"""Which commit a folder has checked out, read from git's own files: no git is run.

A repository may have been written by anybody. So files are read up to a bound, names are taken only as
git makes them, no link is followed out of the git folder, and whatever is not as it should be is no commit.
"""

import re
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 4096
"""Of ``.git``, ``HEAD``, ``commondir`` and a ref: each is a line."""

MOST_PACKED_BYTES: Final = 64 * 1024 * 1024
"""Of ``packed-refs``: a million refs."""

MOST_STEPS: Final = 5
"""From one symbolic ref to the next, as git itself allows."""

_HASH: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})")
_REF: Final = re.compile(r"refs(?:/(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+)+")


def head_commit(root: Path) -> str:
    """Return the hash of the commit that is checked out in a folder or one around it; "" if there is none."""
    try:
        folder = _git_folder(root)
        return "" if folder is None else _commit_of(folder)
    except (OSError, ValueError):  # unreadable, a loop of links; a name with NUL, text that is not UTF-8
        return ""


def _git_folder(root: Path) -> Path | None:
    """Return where git keeps what belongs to this checkout: ``.git``, or where that file points to."""
    for folder in (root, *root.parents):
        mark = folder / ".git"
        if mark.is_dir():
            return mark
        if mark.is_file():
            pointer = _line(mark)
            return folder / pointer.removeprefix("gitdir:").strip() if pointer.startswith("gitdir:") else None
    return None


def _commit_of(folder: Path) -> str:
    common = _common_folder(folder)
    line = _line(folder / "HEAD")
    for _ in range(MOST_STEPS):
        if _HASH.fullmatch(line):
            return line
        ref = line.removeprefix("ref:").strip()
        if not line.startswith("ref:") or not _is_ref(ref):
            return ""
        line = _ref_line(folder, ref) or _ref_line(common, ref) or _packed(common, ref)
    return ""


def _common_folder(folder: Path) -> Path:
    """Return where the refs of all worktrees are; of a repository with one, that is its own folder."""
    pointer = folder / "commondir"
    return folder / _line(pointer) if pointer.is_file() else folder


def _is_ref(name: str) -> bool:
    return bool(_REF.fullmatch(name)) and ".." not in name and "@{" not in name


def _ref_line(folder: Path, ref: str) -> str:
    file = folder / ref
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        return ""
    return _line(file)


def _packed(folder: Path, ref: str) -> str:
    """Return the hash of a ref that is packed with others; lines of other kinds end with no ref's name."""
    file = folder / "packed-refs"
    if not file.is_file() or file.stat().st_size > MOST_PACKED_BYTES:
        return ""
    with file.open(encoding="utf-8", errors="surrogateescape") as lines:
        return next((line.split(" ", 1)[0] for line in lines if line.rstrip("\n").endswith(f" {ref}")), "")


def _line(file: Path) -> str:
    """Return the first line of a small file, without blanks around it."""
    if not file.is_file():  # a pipe would be waited for
        return ""
    with file.open("rb") as opened:
        return opened.read(MOST_BYTES).decode().partition("\n")[0].strip()
