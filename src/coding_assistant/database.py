"""One way to a database: open it safely, read, write, migrate, and say in our words what went wrong.

It knows SQLite and nothing about what is kept in it. Everything particular to SQLite is here, so that
the stores' statements are the ones that PostgreSQL will take.

One connection serves the whole process. SQLite 3.7.0 to 3.51.2 can corrupt a database in WAL mode when
two connections write and checkpoint at the same moment; the library that Python links is often one of
these (Debian 12: 3.40.1), and with a single connection the fault cannot occur. The pool of one is also
the lock between threads: whoever wants the connection waits until it comes back. That other processes
stay away is for the data directory's lock.
"""

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import alembic.command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from coding_assistant.errors import (
    Busy,
    CodingAssistantError,
    DatabaseDamaged,
    DatabaseTooNew,
    DataDirectoryLocked,
    DataDirectoryUnusable,
    DiskFull,
)

APPLICATION_ID: Final = 0x436F4173
"""``CoAs`` in the file's header: tells our database from any other SQLite file."""

CHECKED_BYTES: Final = 1 << 30
"""A larger file is opened without reading all of it: checking takes 0.35 s a gigabyte from memory, and
seconds from a slow disk. What a check at start-up would have found then shows when it is read."""

BUSY_SECONDS: Final = 5
"""How long to wait for another process that looks into the file, such as the ``sqlite3`` shell."""

PATIENCE_SECONDS: Final = 30
"""How long a thread waits for the connection: thousands of transactions, or a disk that hangs."""

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk when it returns, also when the power fails
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten, not only forgotten
    "PRAGMA trusted_schema = OFF",  # a doctored schema calls no function
)


def open_database(file: Path) -> Engine:
    """Open the database, or begin it where there is none; its folder must exist.

    Raises ``DatabaseDamaged`` for what is not a sound database of this program, and leaves such a file
    as it is; ``DataDirectoryUnusable`` when the file cannot be opened or written.
    """
    with translated_errors(file):
        _make_private(file)
        _refuse_damage(file)
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        creator=partial(_connect, file),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=PATIENCE_SECONDS,
        hide_parameters=True,  # they are the user's questions, and error messages end up in logs
    )
    event.listen(engine, "begin", _begin)
    with reading(engine):
        return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Read one state of the database."""
    with translated_errors(_file_of(engine)), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Write all of it or nothing: committed, and on the disk, when the block is left."""
    with (
        translated_errors(_file_of(engine)),
        engine.connect().execution_options(sqlite_begin="BEGIN IMMEDIATE") as connection,
        connection.begin(),
    ):
        yield connection


def erase_traces(engine: Engine) -> None:
    """Let nothing remain in the write-ahead log of what the last transactions deleted."""
    with translated_errors(_file_of(engine)), closing(engine.raw_connection()) as connection:
        # Past SQLAlchemy, which would begin a transaction: the log can only be emptied outside of one.
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy_database(file: Path, copy: Path) -> None:
    """Write one state of a database to a new file, private and whole, also while another process writes.

    It reads through a connection that cannot write or checkpoint, so the fault of above cannot occur.
    Raises ``DatabaseDamaged`` when the database is, and what stands in the way of either file.
    """
    with translated_errors(file):
        _refuse_damage(file)
        copy.touch(mode=0o600, exist_ok=False)
        address = f"{file.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)


def check_database(file: Path) -> None:
    """Read all of a database, however large, through a connection that cannot write.

    Raises ``DatabaseDamaged`` when it is, and what stands in the way of reading it.
    """
    with translated_errors(file):
        _refuse_damage(file, most_bytes=None)


def refuse_programs(file: Path) -> None:
    """Raise ``DatabaseDamaged`` for a database with triggers or views: ours have none, and they would run."""
    address = f"{file.absolute().as_uri()}?mode=ro"
    with translated_errors(file), closing(sqlite3.connect(address, uri=True)) as connection:
        programs = "SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view')"
        if connection.execute(programs).fetchone() != (0,):
            raise _damaged(file, "it holds triggers or views, and no database of this program does")


def migrate(engine: Engine, migrations: Path) -> None:
    """Bring the database up to the newest of the Alembic migrations in the folder, in one transaction.

    Raises ``DatabaseTooNew`` for a database that none of them has made.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with writing(engine) as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision == script.get_current_head():
            return
        if revision is not None:
            _refuse_newer(script, revision, file=_file_of(engine))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


@contextmanager
def translated_errors(file: Path) -> Iterator[None]:
    """Turn what SQLite says about the file into our errors; what is a fault of ours stays as it is."""
    try:
        yield
    except PoolTimeout as error:
        raise Busy(f"{file} has been busy for {PATIENCE_SECONDS} seconds.", hint="Try again.") from error
    except UnicodeDecodeError as error:
        # SQLite's message quotes the damaged schema, and the driver cannot decode that.
        raise _damaged(file, "it holds text that is not UTF-8") from error
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        translation = _translation(cause, file)
        if translation is None:
            raise
        raise translation from error


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # SQLAlchemy begins and ends transactions, not the driver
        check_same_thread=False,  # the pool hands the connection to one thread at a time
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if _application_id(connection) != APPLICATION_ID:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        # SQLite's own knows ASCII alone; PostgreSQL's knows Unicode. Both shall find the same.
        connection.create_function("lower", 1, _lower, deterministic=True)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _make_private(file: Path) -> None:
    """Make the file where there is none, and let nobody else read it; its log inherits the mode."""
    try:
        if not file.exists():
            file.touch(mode=0o600)
        if file.is_file():
            file.chmod(0o600)
            return
    except OSError as error:
        raise _unusable(file, error.strerror or str(error)) from error
    raise _unusable(file, "it is not a file")


def _refuse_damage(file: Path, *, most_bytes: int | None = CHECKED_BYTES) -> None:
    """Look at the file through a connection that cannot write, so that a damaged one stays as it is.

    All of it is read if it has no more than ``most_bytes``.
    """
    log = file.with_name(f"{file.name}-wal")
    if not file.stat().st_size and log.exists() and log.stat().st_size:
        # SQLite would take the file for a new one and delete the log, which may hold all there is.
        raise _damaged(file, "the file is empty or lost, but not its write-ahead log")
    address = f"{file.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
        try:
            _examine(connection, file, most_bytes=most_bytes)
        except sqlite3.Error as error:
            # The statements are sound: what SQLite has against them, if nothing else, is in the file.
            raise (_translation(error, file) or _damaged(file, str(error))) from error


def _examine(connection: sqlite3.Connection, file: Path, *, most_bytes: int | None) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and _application_id(connection) != APPLICATION_ID:
        raise _damaged(file, "it belongs to another program")
    if most_bytes is None or file.stat().st_size <= most_bytes:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _damaged(file, str(verdict).replace("\n", " "))


def _application_id(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _refuse_newer(script: ScriptDirectory, revision: str, *, file: Path) -> None:
    try:
        script.get_revisions(revision)
    except CommandError as error:
        raise DatabaseTooNew(
            f"{file} was written by a newer version of coding-assistant.",
            hint="Update coding-assistant. The file is left as it is.",
        ) from error


def _file_of(engine: Engine) -> Path:
    return Path(engine.url.database or "")


def _translation(error: BaseException | None, file: Path) -> CodingAssistantError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        # Raised by the driver alone, for text that is not UTF-8: nothing of ours has written that.
        return _damaged(file, str(error)) if isinstance(error, sqlite3.OperationalError) else None
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # so a full disk shows when the log's index has to grow
        code = sqlite3.SQLITE_FULL
    match code & 0xFF:  # the rest of an extended code says where it happened
        case sqlite3.SQLITE_FULL:
            return DiskFull(
                f"No space is left for {file}; what was confirmed before is kept.",
                hint="Free some space on its disk and try again.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(file, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DataDirectoryLocked(f"Another program has locked {file}.", hint="End it and try again.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_IOERR:
            return _unusable(file, str(error))
    return None


def _unusable(file: Path, reason: str) -> DataDirectoryUnusable:
    return DataDirectoryUnusable(
        f"{file} cannot be opened or written: {reason}.",
        hint="See that you may write to its folder, and that its disk is in order.",
    )


def _damaged(file: Path, reason: str) -> DatabaseDamaged:
    name = shlex.quote(str(file))
    recovered = shlex.quote(f"{file}.recovered")
    return DatabaseDamaged(
        f"{file} cannot be read: {reason}. It is left as it is.",
        hint=(
            f"Copy it first, with what stands beside it: cp {name}* SOME_OTHER_FOLDER. "
            f"Then save what can be read: sqlite3 {name} .recover | sqlite3 {recovered} "
            "(Debian 12's sqlite3 cannot do that, a newer one can). "
            "Put that file in its place, or move the damaged one away to begin anew."
        ),
    )
