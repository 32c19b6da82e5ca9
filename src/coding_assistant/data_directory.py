"""The folder that holds everything the product keeps, and the lock that one process has on it.

It knows where things lie and who is using them; not what is in them, and not where the folder is by
default, which is for the settings to say.

The lock is an ``flock``: the kernel frees it with its holder, whatever becomes of that. The lock file
itself says nothing; who holds the lock stands in ``holder.json`` beside it, which counts only while
the lock is really held.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from coding_assistant.errors import DataDirectoryLocked, DataDirectoryUnusable, DiskFull, StorageFailed

GRACE_SECONDS = 0.25
"""For so long a lock counts as neither free nor held: somebody may be asking whether it is free (which
takes it for some microseconds), or have got it and not yet written who he is (under a millisecond)."""

POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the data directory: a process, what it does there, and where it answers, if it does.

    ``pid`` is None when the holder could not be made out.
    """

    pid: int | None
    purpose: str
    url: str | None


_HOLDER_FORMAT = TypeAdapter(Holder)


class DataDirectory:
    """The places under one folder, and who may use them. Makes nothing until ``prepare``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock_file = home / "lock"
        self._holder_file = home / "holder.json"

    @property
    def conversations_file(self) -> Path:
        """The database of the conversations: the user's, never thrown away."""
        return self.home / "conversations.db"

    @property
    def models(self) -> Path:
        """The folder of the weights."""
        return self.home / "models"

    @property
    def indexes(self) -> Path:
        """The folder of the projects' indexes: derived, may be deleted at any time."""
        return self.home / "indexes"

    @property
    def snapshots(self) -> Path:
        """The folder of what models have read of conversations."""
        return self.home / "snapshots"

    @property
    def engines(self) -> Path:
        """The folder of the engines that were built here, each in a folder of its own."""
        return self.home / "engines"

    @property
    def cache_salt_file(self) -> Path:
        """The secret that keeps what servers elsewhere cache for this user apart."""
        return self.home / "cache-salt"

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.home / "logs"

    def prepare(self) -> None:
        """Make the folders that are missing, for this user alone; raise what stands in the way.

        The mode of a home that exists is left alone: it may be a folder of the user's choosing, and what
        lies in it is private by its own modes.
        """
        try:
            self.home.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.home, self.models, self.indexes, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._refused(error) from error
        if not os.access(self.home, os.R_OK | os.W_OK | os.X_OK):
            raise self._refused(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))

    @contextmanager
    def hold(self, purpose: str, url: str | None = None, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Have the data directory to oneself, or raise ``DataDirectoryLocked``.

        ``purpose`` is the command that holds it ("serve", "ask"), ``url`` where it can be asked instead.
        """
        self.prepare()
        try:
            held = self._new_lock().acquire(
                timeout=max(wait_seconds, GRACE_SECONDS), poll_interval=POLL_SECONDS
            )
        except Timeout:
            raise self._locked() from None
        except OSError as error:
            raise self._refused(error) from error
        with held:
            self._sign(Holder(pid=os.getpid(), purpose=purpose, url=url))
            try:
                yield
            finally:
                self._holder_file.unlink(missing_ok=True)

    def holder(self) -> Holder | None:
        """Return who holds the data directory now, or None when it is free. Makes nothing."""
        deadline = time.monotonic() + GRACE_SECONDS
        while not self._is_free():
            holder = self._signature()
            if holder is not None:
                return holder
            if time.monotonic() > deadline:
                return Holder(pid=None, purpose="another program", url=None)
            time.sleep(POLL_SECONDS)
        return None

    def _new_lock(self) -> FileLock:
        # Not thread-local: a worker thread may let go of what another one took.
        return FileLock(self._lock_file, mode=0o600, thread_local=False)

    def _is_free(self) -> bool:
        try:
            if self._lock_file.exists():
                with self._new_lock().acquire(timeout=0):
                    return True
        except Timeout:
            return False
        except OSError as error:
            raise self._refused(error) from error
        return True

    def _sign(self, holder: Holder) -> None:
        draft = self._holder_file.with_suffix(f".{holder.pid}")
        try:
            # First what a killed holder has left, for the lock is not its any more.
            self._holder_file.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            draft.write_bytes(_HOLDER_FORMAT.dump_json(holder))
            draft.replace(self._holder_file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise self._refused(error) from error

    def _signature(self) -> Holder | None:
        try:
            return _HOLDER_FORMAT.validate_json(self._holder_file.read_bytes())
        except (OSError, ValidationError):
            return None

    def _locked(self) -> DataDirectoryLocked:
        holder = self.holder()
        if holder is None or holder.pid is None:
            who, end_it = "another program", ""
        else:
            who, end_it = f"`{holder.purpose}` (process {holder.pid})", f", or end it: kill {holder.pid}"
        if holder is None or holder.url is None:
            return DataDirectoryLocked(
                f"{self.home} is in use by {who}.", hint=f"Wait until it is done{end_it}."
            )
        return DataDirectoryLocked(
            f"{self.home} is in use by {who}, which answers at {holder.url}.",
            hint=f"Go through it at {holder.url}{end_it}.",
        )

    def _refused(self, error: OSError) -> StorageFailed:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return DiskFull(f"No space is left for {self.home}.", hint="Free some space and try again.")
        return DataDirectoryUnusable(
            f"The data directory {self.home} cannot be used: {error.strerror or error}.",
            hint="Set CODING_ASSISTANT_HOME to a folder that you can write to.",
        )
