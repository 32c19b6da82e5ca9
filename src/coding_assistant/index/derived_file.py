"""A SQLite file of derived data: opened, lent to one call at a time, thrown away when it is unfit.

A file of another fingerprint, or a damaged one, is replaced by an empty one in a single rename, so that no
process ever sees half of it; processes that still hold the old file notice by its inode and open the new one.
It does not know what the tables mean.

Several processes may read and write the file at a time. Therefore a rollback journal and not WAL: the
WAL-reset fault of SQLite up to 3.51.2 damages exactly such files. ``synchronous=NORMAL``: a power cut can at
worst damage what can be built again, and damage is noticed.
"""

import errno
import glob
import secrets
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from coding_assistant.errors import Busy, DataDirectoryUnusable, DiskFull, IndexMissing

# A batch is committed in a fraction of a second; only a stuck process holds the lock for longer.
_PATIENCE_SECONDS = 15.0

# Making an empty file takes milliseconds; one this old was left behind by a process that was killed.
_LEFTOVER_SECONDS = 3_600

_PRAGMAS = (
    "PRAGMA journal_mode = TRUNCATE",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    # 64 MiB hold any batch, so that SQLite need not lock readers out before the commit to spill its cache.
    "PRAGMA cache_size = -65536",
)

_META_SCHEMA = "CREATE TABLE meta (fingerprint TEXT NOT NULL, generation TEXT NOT NULL)"

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WAITED_TOO_LONG = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_REFUSED_BY_DISK = frozenset(
    {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
)


@dataclass(frozen=True, slots=True)
class _Identity:
    """Which file a path stood for at some moment."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class _Lent:
    connection: sqlite3.Connection
    identity: _Identity


class DerivedFile:
    """One SQLite file with the given tables and fingerprint, for several threads, beside other processes.

    ``reading`` and ``writing`` lend a connection to their block alone. ``IndexMissing`` means that the file
    was unfit and has been begun anew, empty; ``Busy``, ``DiskFull`` and ``DataDirectoryUnusable`` leave it
    as it was.
    """

    def __init__(self, file: Path, *, schema: str, fingerprint: str) -> None:
        self._file = file
        self._schema = schema
        self._fingerprint = fingerprint
        self._lock = threading.Lock()
        self._idle: list[_Lent] = []
        self._is_closed = False

    def prepare(self) -> None:
        """Begin an empty file unless the one that is there can be used."""
        with _translated_errors(self._file):
            identity = self._identity()
            if identity is None or not self._is_sound():
                self._begin_anew(unfit=identity)

    def close(self) -> None:
        """Close every connection; one that is lent out is closed when it comes back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for lent in idle:
            lent.connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one state of the file throughout."""
        with self._lent() as connection, _transaction(connection, "BEGIN"):
            yield connection

    def generation(self) -> str:
        """Return the name of what was begun last: another whenever the file was begun anew, by whomever."""
        with self.reading() as connection:
            return generation_of(connection)

    @contextmanager
    def writing(self, *, generation: str | None = None) -> Iterator[sqlite3.Connection]:
        """Lend a connection that writes all or nothing; it waits for other writers.

        With a generation, ``IndexMissing`` also means that the file is of another one by now.
        """
        with self._lent() as connection, _transaction(connection, "BEGIN IMMEDIATE"):
            if generation is not None and generation != generation_of(connection):
                raise _begun_anew()
            yield connection

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        with _translated_errors(self._file):
            lent = self._borrow()
            try:
                yield lent.connection
            except sqlite3.DatabaseError as error:
                if _primary_code(error) in _DAMAGE:
                    self._begin_anew(unfit=lent.identity)
                    raise _begun_anew() from error
                raise
            finally:
                self._take_back(lent)

    def _borrow(self) -> _Lent:
        identity = self._identity()
        with self._lock:
            current = [lent for lent in self._idle if lent.identity == identity]
            outdated = [lent for lent in self._idle if lent.identity != identity]
            borrowed = current.pop() if current else None
            self._idle = current
        for lent in outdated:
            lent.connection.close()
        if borrowed is not None:
            return borrowed
        if identity is not None and (connection := self._open()) is not None:
            return _Lent(connection, identity)
        self._begin_anew(unfit=identity)
        raise _begun_anew()

    def _take_back(self, lent: _Lent) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(lent)
                return
        lent.connection.close()

    def _identity(self) -> _Identity | None:
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return None
        return _Identity(status.st_dev, status.st_ino)

    def _is_sound(self) -> bool:
        connection = self._open()
        if connection is None:
            return False
        with closing(connection):
            try:
                # 1 ms for each megabyte of the index.
                return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
            except sqlite3.DatabaseError as error:
                if _primary_code(error) in _DAMAGE:
                    return False
                raise

    def _open(self) -> sqlite3.Connection | None:
        """Return a connection to the file, or None if it is not a database with our fingerprint."""
        connection = sqlite3.connect(
            f"{self._file.absolute().as_uri()}?mode=rw",  # not "rwc": an empty file would be nobody's
            uri=True,
            timeout=_PATIENCE_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # lent to one thread at a time
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            if connection.execute("SELECT fingerprint FROM meta").fetchone() == (self._fingerprint,):
                return connection
        except sqlite3.DatabaseError as error:
            if _primary_code(error) not in _DAMAGE | {sqlite3.SQLITE_ERROR}:  # ERROR: there is no such table
                connection.close()
                raise
        connection.close()
        return None

    def _begin_anew(self, *, unfit: _Identity | None) -> None:
        """Put an empty file in the place of the unfit one, unless somebody else was faster."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remove_leftovers()
        with tempfile.NamedTemporaryFile(  # readable by its owner alone, as the code it will hold may be
            dir=self._file.parent, prefix=f"{self._file.name}.", suffix=".new", delete=False
        ) as temporary:
            fresh = Path(temporary.name)
        try:
            with closing(sqlite3.connect(fresh)) as connection:
                # In one transaction: with one for each statement, the disk takes ten times as long.
                connection.executescript(f"BEGIN; {self._schema}; {_META_SCHEMA}")
                connection.execute(
                    "INSERT INTO meta VALUES (?, ?)", (self._fingerprint, secrets.token_hex(16))
                )
                connection.commit()
            if self._identity() == unfit:
                # A journal that outlived the old file would be rolled back into the new one.
                self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)
                fresh.replace(self._file)
        finally:
            fresh.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        for leftover in self._file.parent.glob(f"{glob.escape(self._file.name)}.*.new"):
            with suppress(FileNotFoundError):  # somebody else tidies up, too
                if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                    leftover.unlink()


def generation_of(connection: sqlite3.Connection) -> str:
    """Return the name of what the connection reads, as ``DerivedFile.generation`` does."""
    ((generation,),) = connection.execute("SELECT generation FROM meta")
    return str(generation)


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # the block or the commit failed
            with suppress(sqlite3.Error):
                connection.rollback()


@contextmanager
def _translated_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = _primary_code(error)
        if code in _WAITED_TOO_LONG:
            raise Busy(
                "Another process has been writing this project's index for too long.",
                hint="Wait for it to finish, or end it; then try again.",
            ) from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_DBMOVED:
            raise _begun_anew() from error  # by another process, under our transaction
        if code == sqlite3.SQLITE_FULL:
            raise _disk_full(file) from error
        if code in _REFUSED_BY_DISK:
            raise _unusable(file, error) from error
        raise
    except OSError as error:
        raise (_disk_full(file) if error.errno == errno.ENOSPC else _unusable(file, error)) from error


def _primary_code(error: sqlite3.DatabaseError) -> int | None:
    """Return SQLite's result code without its details; None when Python's module raised on its own."""
    extended: int | None = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def _begun_anew() -> IndexMissing:
    return IndexMissing(
        "The search index of this project was damaged, deleted or of another version: it is empty now.",
        hint="Update the index; nothing of yours is lost, for it is made from the project's files.",
    )


def _disk_full(file: Path) -> DiskFull:
    return DiskFull(
        f"The disk that holds the search index is full ({file}).",
        hint="Free some space and try again; the index is as it was before.",
    )


def _unusable(file: Path, error: Exception) -> DataDirectoryUnusable:
    return DataDirectoryUnusable(
        f"The search index {file} cannot be read or written: {error}.",
        hint="Check that the data directory exists, that it is yours, and that it is not read-only.",
    )
