"""The folder of snapshots: what the engine has read of conversations, so that none of it is read twice.

A file ``<fingerprint>-<owner>.kv`` for each. The engine writes and reads them; here they are named, counted
and deleted. What there is, is what the folder lists: there is no index that could say otherwise. A snapshot
tells as much as the conversation itself, so nobody else may read it, and it goes when the conversation goes.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coding_assistant.errors import DataDirectoryUnusable

# A snapshot of another model or engine that was not used for so long will most likely never be used again.
_OUTDATED_NANOSECONDS: Final = 24 * 3_600 * 10**9

FRONT_PREFIX: Final = "f-"
"""Begins the owner's name of what many conversations have in common and no deletion concerns."""

_NAME: Final = re.compile(r"(?P<fingerprint>[0-9a-f]+)-(?P<owner>[0-9a-f-]+)\.kv")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A snapshot, or what was left of one that was being written."""

    path: Path
    fingerprint: str
    owner: str
    size: int
    used_at: int


class SnapshotFolder:
    """The snapshots of all models in one folder, together no more than ``most_bytes``.

    The one unused for the longest goes first. However much is allowed, as much of the disk as the snapshots
    take stays free: a full disk would cost the conversations. Its methods block and raise ``OSError``.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def name(self, fingerprint: str, owner: str) -> str:
        """Return the file's name.

        Raises ``ValueError`` unless both are of hexadecimal digits; an owner may have hyphens too.
        """
        name = f"{fingerprint}-{owner}.kv"
        named = _NAME.fullmatch(name)
        if named is None or named["fingerprint"] != fingerprint:
            raise ValueError(f"{name!r} is no name of a snapshot.")
        return name

    def has(self, fingerprint: str, owner: str) -> bool:
        """Whether the owner has a snapshot of this fingerprint, as far as can be seen; raises nothing."""
        with suppress(OSError):
            return self._path(fingerprint, owner).exists()
        return False

    def make_room(self, fingerprint: str) -> bool:
        """Have the folder ready for one more snapshot; what is over the budget goes. False: none may be."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        self._trim(fingerprint)
        return self._most_bytes > 0

    def keep(self, fingerprint: str, owner: str) -> bool:
        """Take in what the engine has written; others make room for it. False: it is too large to be kept."""
        path = self._path(fingerprint, owner)
        path.chmod(0o600)
        _mark_as_used(path)
        if path.stat().st_size > self._room(self._stored()):
            path.unlink()
            return False
        self._trim(fingerprint)
        return True

    def mark_as_used(self, fingerprint: str, owner: str) -> None:
        """Note that the owner's snapshot was restored, so that others go before it."""
        _mark_as_used(self._path(fingerprint, owner))

    def discard(self, fingerprint: str, owner: str) -> None:
        """Delete a snapshot that is of no use."""
        self._path(fingerprint, owner).unlink(missing_ok=True)

    def hand_over(self, owner: str, heir: str) -> None:
        """Put an heir's name on all that there is of an owner, of every fingerprint."""
        for stored in self._stored():
            if stored.owner != owner:
                continue
            if stored.path.name == self.name(stored.fingerprint, owner):
                stored.path.replace(self._path(stored.fingerprint, heir))
            else:
                stored.path.unlink(missing_ok=True)

    def delete(self, *owners: str) -> None:
        """Delete all that there is of these owners, of every fingerprint.

        Raises ``DataDirectoryUnusable`` when something is left: it holds what was to be forgotten.
        """
        self._delete_where(lambda stored: stored.owner in owners)

    def keep_only(self, owners: Collection[str]) -> None:
        """Delete what belongs to none of these owners, of every fingerprint; common fronts stay.

        For what a process that ended between two steps has left of deleted conversations. Raises as
        ``delete`` does.
        """
        self._delete_where(
            lambda stored: stored.owner not in owners and not stored.owner.startswith(FRONT_PREFIX)
        )

    def _delete_where(self, is_to_go: Callable[[_Stored], bool]) -> None:
        """Delete as many as can be deleted; raise ``DataDirectoryUnusable`` when something is left."""
        failures: list[OSError] = []
        try:
            listed = self._stored()
        except OSError as error:
            raise self._left_over(error) from error
        for stored in filter(is_to_go, listed):
            try:
                stored.path.unlink(missing_ok=True)
            except OSError as error:
                failures.append(error)
        if failures:
            raise self._left_over(failures[0]) from failures[0]

    def _path(self, fingerprint: str, owner: str) -> Path:
        return self._folder / self.name(fingerprint, owner)

    def _stored(self) -> list[_Stored]:
        """List the snapshots; other files are not ours."""
        try:
            entries = list(os.scandir(self._folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        stored: list[_Stored] = []
        for entry in entries:
            # Not the whole name: what the engine was writing when it was killed has an ending more.
            if (named := _NAME.match(entry.name)) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # gone since it was listed, for another model's sake
                    status = entry.stat(follow_symlinks=False)
                    path, size, used_at = Path(entry.path), status.st_size, status.st_mtime_ns
                    stored.append(_Stored(path, named["fingerprint"], named["owner"], size, used_at))
        return stored

    def _left_over(self, error: OSError) -> DataDirectoryUnusable:
        return DataDirectoryUnusable(
            f"Something of what was deleted may be left in {self._folder}: {error.strerror}.",
            hint="Delete the files of that folder: nothing but waiting time is lost with them.",
        )

    def _room(self, stored: Iterable[_Stored]) -> int:
        taken = sum(each.size for each in stored)
        return min(self._most_bytes, (taken + shutil.disk_usage(self._folder).free) // 2)

    def _trim(self, fingerprint: str) -> None:
        """Delete until the rest is within the budget: what is outdated first, then the longest unused."""
        stored = self._stored()
        room = self._room(stored)
        taken = sum(each.size for each in stored)
        for each in sorted(stored, key=_worth(fingerprint)):
            if taken <= room:
                return
            each.path.unlink(missing_ok=True)
            taken -= each.size


def _worth(fingerprint: str) -> Callable[[_Stored], tuple[bool, int]]:
    outdated_at = time.time_ns() - _OUTDATED_NANOSECONDS

    def worth(stored: _Stored) -> tuple[bool, int]:
        is_outdated = stored.fingerprint != fingerprint and stored.used_at < outdated_at
        return (not is_outdated, stored.used_at)

    return worth


def _mark_as_used(path: Path) -> None:
    # The kernel's own clock for files ticks every few milliseconds: too coarse to tell which came first.
    now = time.time_ns()
    os.utime(path, ns=(now, now))
