"""Finds and reads the files of a project that are worth indexing; every other file is counted.

What a project holds is a stranger's: no link is followed, at no level, neither while walking nor while
reading, so nothing outside the folder is ever opened; no program is run; nothing is read that is not a
regular file. Folders are opened one name at a time, each without following links (POSIX).
"""

import errno
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from coding_assistant.domain import FileStamp, FoundFile, SkippedFile, SkipReason, SourceFile, text_digest
from coding_assistant.errors import InvalidProject
from coding_assistant.project import content, secrets
from coding_assistant.project.ignore import IGNORE_FILE_NAMES, IgnoreRules, is_ignored, parse_rules
from coding_assistant.project.languages import language_named, language_of, language_of_shebang
from coding_assistant.project.near_paths import near_folder
from coding_assistant.project.notebooks import NOTEBOOK_SUFFIX, read_notebook

# Folders that never hold a project's own source; a tool made each and says so by its name. Not ``target``,
# ``build``, ``dist``, ``vendor``, ``env`` or ``venv``: source lies in folders of these names too (Python's
# own library has a package ``venv``), and who builds into them ignores them anyway.
ALWAYS_IGNORED_FOLDERS = MappingProxyType(
    dict.fromkeys((".git", ".hg", ".svn", ".jj"), "history")
    | dict.fromkeys(("node_modules", ".tox", ".nox", ".eggs", ".terraform"), "installed packages")
    | dict.fromkeys(("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"), "caches")
)
# In a folder of any name: a virtual environment was installed here.
_ENVIRONMENT_MARKER = "pyvenv.cfg"

EXCLUDE_FILE = PurePosixPath(".git/info/exclude")
# The largest known ignore file has some hundred kilobytes; more is an attempt to keep us busy.
_LARGEST_IGNORE_FILE_BYTES = 1 << 20

# A line feed in a name could write lines of its own into a prompt, a citation or a listing.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking: a file that became a pipe since the walk would otherwise hold us until somebody writes.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_root(path: Path) -> Path:
    """Return the project's folder, absolute and without links; InvalidProject if it cannot be walked."""
    try:
        root = path.expanduser().resolve(strict=True)
        with os.scandir(root):
            return root
    except (FileNotFoundError, RuntimeError):  # RuntimeError: a loop of links, or an unknown ~user
        message, hint = f"The folder {path} does not exist.", "Check the spelling, or name another folder."
        if near := near_folder(path.absolute()):
            hint = f"Did you mean {near}?"
    except NotADirectoryError:
        message, hint = f"{path} is a file, not a folder.", "Name the folder that holds the project."
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "it is not a valid path"
        message, hint = f"The folder {path} cannot be read: {reason}.", "Check its permissions."
    raise InvalidProject(message, hint=hint)


def walk(root: Path, *, only: Collection[PurePosixPath] | None = None) -> Iterator[FoundFile | SkippedFile]:
    """Yield the files below the root in the order of their paths, without reading them.

    Ignore files count at every level, as git has it, and so does the root's ``.git/info/exclude``; what
    lies above the root does not. An ignored folder is yielded once, not its files. Between two steps
    nothing is open, so the iterator can be left at any point.

    With ``only`` it yields of the same entries just those that are one of these paths, lie below one, or lie
    above one (a folder that is passed over). It looks at nothing else but the ignore files on the way.
    """
    wanted = _Wanted(is_everything=True) if only is None else _Wanted.of(only)
    pending: list[FoundFile | SkippedFile | _Visit] = [_Visit(PurePosixPath(), (), _root_rules(root), wanted)]
    while pending:
        item = pending.pop()
        if isinstance(item, _Visit):
            pending.extend(reversed(_list_folder(root, item)))
        else:
            yield item


def affected(path: PurePosixPath) -> PurePosixPath:
    """Return the file or folder to look at when this one has changed: it may hold rules for a folder.

    That is the root for whatever cannot be looked at alone.
    """
    is_inside = not path.is_absolute() and ".." not in path.parts
    # A name that had to be spelt out would not be found under that spelling.
    is_known = is_inside and all(part.isprintable() for part in path.parts)
    if not is_known or path == EXCLUDE_FILE:
        return PurePosixPath()
    holds_rules = path.name in IGNORE_FILE_NAMES or path.name == _ENVIRONMENT_MARKER
    return path.parent if holds_rules else path


def find(root: Path, path: PurePosixPath) -> FoundFile | None:
    """Return the regular file that has this path now, reached without a link; None if there is none.

    Ignore files are not asked: the path is one that a walk has found.
    """
    try:
        with _open_folder(root, path.parts[:-1]) as folder:
            status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return FoundFile(path, _stamp(status)) if stat.S_ISREG(status.st_mode) else None


def read(root: Path, found: FoundFile) -> SourceFile | SkippedFile:
    """Read a file that a walk found: its text with secrets redacted, or why there is none.

    The file is judged as it is now, not as the walk saw it. Of a notebook the text is what ``notebooks``
    makes of it, with the line numbers of the file.
    """
    limit = content.largest_bytes(found.path)
    try:
        data = _read_bytes(root, found.path.parts, limit=limit)
    except OSError as error:
        return SkippedFile(found.path, _reason_of(error))
    if len(data) > limit:
        return SkippedFile(found.path, SkipReason.TOO_LARGE)
    text = content.decode(data)
    if isinstance(text, SkipReason):
        return SkippedFile(found.path, text)
    text, language = _text_and_language(found.path, text)
    reason = content.reason_by_text(text, language_of(found.path) or language)
    if reason is not None:
        return SkippedFile(found.path, reason)
    text = secrets.redact(text)
    return SourceFile(found.path, text, text_digest(text), language)


def _text_and_language(path: PurePosixPath, text: str) -> tuple[str, str | None]:
    """Return what of a file's text is to be read, and its language; of a notebook, its kernel's."""
    notebook = read_notebook(text) if path.suffix == NOTEBOOK_SUFFIX else None
    if notebook is not None:
        return notebook.text, language_named(notebook.language) or "python"
    return text, language_of(path) or language_of_shebang(text)


# --- Walking ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Wanted:
    """What is wanted of a folder: everything, or some names, and of each its own part."""

    is_everything: bool = False
    names: dict[str, "_Wanted"] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[PurePosixPath]) -> "_Wanted":
        wanted = cls()
        for path in paths:
            if path.is_absolute() or ".." in path.parts:  # nothing that a walk could come by
                continue
            inner = wanted
            for part in path.parts:
                inner = inner.names.setdefault(part, cls())
            inner.is_everything = True
        return wanted

    def of_name(self, name: str) -> "_Wanted | None":
        """Return what is wanted of what has this name in the folder; None for nothing."""
        return self if self.is_everything else self.names.get(name)


@dataclass(frozen=True, slots=True)
class _Visit:
    """A folder still to be listed, the rules that hold in it, the weakest first, and what is wanted of it.

    Its path is kept because making one from its parts takes twice as long as adding a name.
    """

    path: PurePosixPath
    parts: tuple[str, ...]
    rules: tuple[IgnoreRules, ...]
    wanted: _Wanted


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a listing says of one name: a folder, a file with a stamp, or why it is neither."""

    name: str
    is_folder: bool = False
    stamp: FileStamp | None = None
    obstacle: SkipReason = SkipReason.SPECIAL


class _NotRegular(OSError):
    """What was opened is a pipe, a device, a socket or a folder."""


def _list_folder(root: Path, visit: _Visit) -> list[FoundFile | SkippedFile | _Visit]:
    try:
        with _open_folder(root, visit.parts) as folder:
            entries = _entries(folder, visit.wanted)
    except OSError as error:
        return [SkippedFile(visit.path, _reason_of(error))]
    names = {entry.name for entry in entries}
    if visit.parts and _ENVIRONMENT_MARKER in names:
        return [SkippedFile(visit.path, SkipReason.IGNORED)]
    own_rules = (_folder_rules(root, (*visit.parts, name)) for name in IGNORE_FILE_NAMES if name in names)
    rules = (*visit.rules, *(rules for rules in own_rules if rules is not None))
    inner = _Visit(visit.path, visit.parts, rules, visit.wanted)
    return [
        _judge(entry, inner, wanted)
        for entry in sorted(entries, key=lambda entry: entry.name)
        if (wanted := visit.wanted.of_name(entry.name)) is not None
    ]


def _entries(folder: int, wanted: _Wanted) -> list[_Entry]:
    """Return what is in a folder; of one that is not wanted whole, what is wanted and what rules there."""
    if not wanted.is_everything:
        names = {*wanted.names, *IGNORE_FILE_NAMES, _ENVIRONMENT_MARKER}
        return [entry for name in names if (entry := _named_entry(folder, name)) is not None]
    with os.scandir(folder) as listing:
        return [_entry(each) for each in listing]


def _named_entry(folder: int, name: str) -> _Entry | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (OSError, ValueError):  # ValueError: no name that a file could have
        return None
    if stat.S_ISLNK(status.st_mode):
        return _Entry(name, obstacle=SkipReason.LINK)
    if stat.S_ISDIR(status.st_mode):
        return _Entry(name, is_folder=True)
    return _Entry(name, stamp=_stamp(status)) if stat.S_ISREG(status.st_mode) else _Entry(name)


def _entry(entry: os.DirEntry[str]) -> _Entry:
    try:
        if entry.is_symlink():
            return _Entry(entry.name, obstacle=SkipReason.LINK)
        if entry.is_dir(follow_symlinks=False):
            return _Entry(entry.name, is_folder=True)
        status = entry.stat(follow_symlinks=False)
    except OSError:  # a folder may be listed and yet not entered
        return _Entry(entry.name, obstacle=SkipReason.UNREADABLE)
    if not stat.S_ISREG(status.st_mode):
        return _Entry(entry.name)
    return _Entry(entry.name, stamp=_stamp(status))


def _stamp(status: os.stat_result) -> FileStamp:
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _judge(entry: _Entry, visit: _Visit, wanted: _Wanted) -> FoundFile | SkippedFile | _Visit:
    parts = (*visit.parts, entry.name)
    path = visit.path / _printable(entry.name)
    if path.name != entry.name:  # something in it had to be spelt out
        return SkippedFile(path, SkipReason.ENCODING)
    if entry.is_folder:
        is_hidden = entry.name in ALWAYS_IGNORED_FOLDERS or is_ignored(visit.rules, parts, is_folder=True)
        return (
            SkippedFile(path, SkipReason.IGNORED) if is_hidden else _Visit(path, parts, visit.rules, wanted)
        )
    # Secrets come first: no ``!`` in an ignore file brings them back.
    if secrets.is_secret_path(path):
        return SkippedFile(path, SkipReason.SECRET)
    if is_ignored(visit.rules, parts, is_folder=False):
        return SkippedFile(path, SkipReason.IGNORED)
    if entry.stamp is None:
        return SkippedFile(path, entry.obstacle)
    is_too_large = entry.stamp.size > content.largest_bytes(path)
    reason = SkipReason.TOO_LARGE if is_too_large else content.reason_by_name(path)
    return FoundFile(path, entry.stamp) if reason is None else SkippedFile(path, reason)


def _printable(name: str) -> str:
    """Return the name on one line: bytes that are not UTF-8 and control characters are spelt out."""
    if name.isprintable():  # nearly every name; half the time of a walk went into spelling them
        return name
    text = os.fsencode(name).decode(errors="backslashreplace")
    return _CONTROL_CHARACTER.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


# --- Ignore files -----------------------------------------------------------------------------


def _root_rules(root: Path) -> tuple[IgnoreRules, ...]:
    exclude = _folder_rules(root, EXCLUDE_FILE.parts, depth=0)
    return (exclude,) if exclude is not None else ()


def _folder_rules(root: Path, parts: Sequence[str], *, depth: int | None = None) -> IgnoreRules | None:
    """Return the rules of an ignore file; None if it is no readable regular file, as for git."""
    try:
        data = _read_bytes(root, parts, limit=_LARGEST_IGNORE_FILE_BYTES)
    except OSError:
        return None
    return parse_rules(data.decode(errors="replace"), depth=len(parts) - 1 if depth is None else depth)


# --- Opening ----------------------------------------------------------------------------------


@contextmanager
def _open_folder(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """Open a folder below the root name by name, so that no part of the way can be a link.

    From the root each time, rather than keeping every folder on the way open: a walk then holds nothing
    between two steps, at the price of one system call a level.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _read_bytes(root: Path, parts: Sequence[str], *, limit: int) -> bytes:
    """Return the bytes of a regular file, at most one more than the limit; OSError for anything else."""
    with _open_folder(root, parts[:-1]) as folder:
        descriptor = os.open(parts[-1], _FILE_FLAGS, dir_fd=folder)
    with open(descriptor, "rb") as file:  # noqa: PTH123  -- Path.open takes no descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _NotRegular(errno.EINVAL, "not a regular file")
        return file.read(limit + 1)


def _reason_of(error: OSError) -> SkipReason:
    """Return the reason that an error of the system stands for.

    ELOOP: a link where a file was. ENOTDIR: a link, or a file, where a folder was. ENXIO: a socket, or a
    pipe that nobody writes to.
    """
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return SkipReason.LINK
    if isinstance(error, _NotRegular) or error.errno == errno.ENXIO:
        return SkipReason.SPECIAL
    return SkipReason.UNREADABLE
