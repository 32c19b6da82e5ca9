import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from coding_assistant.database import erase_traces, migrate, open_database, reading, writing
from coding_assistant.errors import (
    DatabaseDamaged,
    DatabaseTooNew,
    DataDirectoryLocked,
    DataDirectoryUnusable,
    DiskFull,
)
from support.examples import costly

metadata = MetaData()
notes = Table("notes", metadata, Column("id", Integer, primary_key=True), Column("text", Text, unique=True))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path / "notes.db")
    with writing(engine) as connection:
        metadata.create_all(connection)
    yield engine
    engine.dispose()


def write(engine: Engine, *texts: str) -> None:
    with writing(engine) as connection:
        connection.execute(insert(notes), [{"text": text} for text in texts])


def texts(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(select(notes.c.text).order_by(notes.c.id)))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


def sound_database(file: Path, *, rows: int = 200) -> None:
    engine = open_database(file)
    with writing(engine) as connection:
        metadata.create_all(connection)
    write(engine, *(f"note {number} of a sound database" for number in range(rows)))
    engine.dispose()


# --- Reading and writing ------------------------------------------------------------------------


def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path: Path, engine: Engine) -> None:
    write(engine, "first", "second")
    engine.dispose()
    again = open_database(tmp_path / "notes.db")
    assert texts(again) == ["first", "second"]
    again.dispose()


def test_nobody_else_can_read_the_files(tmp_path: Path, engine: Engine) -> None:
    write(engine, "private")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes["notes.db"] == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("mode", [0o644, 0o400])
def test_a_file_that_others_could_read_is_made_private(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "notes.db"
    sound_database(file)
    file.chmod(mode)
    engine = open_database(file)
    write(engine, "private")
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
    engine.dispose()


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    write(engine, "kept")
    with pytest.raises(IntegrityError):
        write(engine, "lost", "kept")
    assert texts(engine) == ["kept"]


def test_no_error_tells_what_was_to_be_written(engine: Engine) -> None:
    write(engine, "canary")
    with pytest.raises(IntegrityError) as caught:
        write(engine, "canary")
    assert "canary" not in str(caught.value)


def test_threads_take_turns(engine: Engine) -> None:
    write(engine, "0")

    def count_up(_: int) -> None:
        with writing(engine) as connection:
            number = int(connection.scalar(select(notes.c.text)) or "")
            connection.execute(update(notes).values(text=str(number + 1)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(200)))
    assert texts(engine) == ["200"]


def test_upper_and_lower_case_are_told_by_unicode(engine: Engine) -> None:
    write(engine, "ÄRGER in Σίσυφος")
    with reading(engine) as connection:
        assert connection.scalar(select(func.lower(notes.c.text))) == "ärger in σίσυφος"


def test_deleted_text_is_nowhere_in_the_files(tmp_path: Path, engine: Engine) -> None:
    write(engine, "canary" * 2_000, "other")
    assert any(b"canary" in content for content in contents(tmp_path).values())
    with writing(engine) as connection:
        connection.execute(notes.delete().where(notes.c.text != "other"))
    erase_traces(engine)
    assert not any(b"canary" in content for content in contents(tmp_path).values())
    assert texts(engine) == ["other"]


# --- What the disk refuses ----------------------------------------------------------------------


def test_a_full_disk_loses_nothing_that_was_written(engine: Engine) -> None:
    write(engine, "before")
    with reading(engine) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(DiskFull) as caught:
        write(engine, *("x" * 1_000 + str(number) for number in range(100)))
    assert caught.value.hint
    assert texts(engine) == ["before"]
    write(engine, "small enough")
    with reading(engine) as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 10000")
    write(engine, "y" * 100_000)
    assert texts(engine) == ["before", "small enough", "y" * 100_000]


def test_a_lock_of_another_program_is_named_as_such(tmp_path: Path, engine: Engine) -> None:
    with reading(engine) as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataDirectoryLocked):
            write(engine, "refused")
    write(engine, "accepted")
    assert texts(engine) == ["accepted"]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataDirectoryUnusable, match=r"file/notes\.db"):
        open_database(tmp_path / "file" / "notes.db")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryUnusable, match="not a file"):
        open_database(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataDirectoryUnusable):
            open_database(tmp_path / "notes.db")
    finally:
        tmp_path.chmod(0o700)


# --- Damage -------------------------------------------------------------------------------------


def not_a_database(file: Path) -> None:
    file.write_bytes(b"This was once a database." * 400)


def cut_in_half(file: Path) -> None:
    sound_database(file)
    os.truncate(file, file.stat().st_size // 2)


def overwritten_page(file: Path) -> None:
    sound_database(file)
    with file.open("r+b") as stream:
        stream.seek(4096 * 2)
        stream.write(b"\xff" * 4096)


def of_another_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.commit()


def emptied_beside_its_log(file: Path) -> None:
    sound_database(file)
    file.with_name(f"{file.name}-wal").write_bytes(b"all there is")
    os.truncate(file, 0)


def lost_beside_its_log(file: Path) -> None:
    file.with_name(f"{file.name}-wal").write_bytes(b"all there is")


def damaged_under_its_log(file: Path) -> None:
    """Left by a crash, with a log that SQLite would bring into the file at the next opening."""
    writer = open_database(file)
    with writing(writer) as connection:
        metadata.create_all(connection)
    write(writer, *(f"note {number} of a sound database" for number in range(200)))
    erase_traces(writer)
    write(writer, "in the log")
    saved = contents(file.parent)
    writer.dispose()
    for name, content in saved.items():
        (file.parent / name).write_bytes(content)
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * 4096)


@pytest.mark.parametrize(
    "damage",
    [
        not_a_database,
        cut_in_half,
        overwritten_page,
        of_another_program,
        emptied_beside_its_log,
        lost_beside_its_log,
        damaged_under_its_log,
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / "notes.db"
    damage(file)
    before = contents(tmp_path)
    with pytest.raises(DatabaseDamaged) as caught:
        open_database(file)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert str(file) in str(caught.value)
    assert str(file) in caught.value.hint
    assert ".recover" in caught.value.hint


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("sound") / "notes.db"
    sound_database(file)
    return file.read_bytes()


@costly
@example(flips=[(47, 5)])  # a schema format of the future
@example(flips=[(3943, 255)])  # a schema that is not UTF-8, quoted in SQLite's message
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 15), st.integers(0, 255)), min_size=1, max_size=20))
def test_flipped_bytes_are_survived_or_refused(sound: bytes, flips: list[tuple[int, int]]) -> None:
    content = bytearray(sound)
    for place, value in flips:
        content[place % len(content)] = value
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notes.db"
        file.write_bytes(content)
        try:
            engine = open_database(file)
        except (DatabaseDamaged, DataDirectoryUnusable):
            assert file.read_bytes() == content
            return
        try:
            texts(engine)
        except DatabaseDamaged:
            pass
        finally:
            engine.dispose()


# --- Migrations ---------------------------------------------------------------------------------

ENVIRONMENT = """
from alembic import context
context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
"""

FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "1", None
def upgrade():
    op.create_table("first", sa.Column("id", sa.Integer(), primary_key=True))
"""

SECOND = """
import os, signal
import sqlalchemy as sa
from alembic import op
revision, down_revision = "2", "1"
def upgrade():
    op.create_table("second", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("INSERT INTO first VALUES (2)")
"""

KILL = "    os.kill(os.getpid(), signal.SIGKILL)\n"

MIGRATE = """
import sys
from pathlib import Path
from coding_assistant.database import migrate, open_database
migrate(open_database(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations of 100%"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "versions" / "first.py").write_text(FIRST)
    return folder


def tables(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_migrations_run_once_and_in_order(tmp_path: Path, migrations: Path) -> None:
    engine = open_database(tmp_path / "notes.db")
    migrate(engine, migrations)
    assert tables(engine) == {"first"}
    (migrations / "versions" / "second.py").write_text(SECOND)
    migrate(engine, migrations)
    migrate(engine, migrations)
    assert tables(engine) == {"first", "second"}
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT id FROM first").scalars().all() == [2]
    engine.dispose()


def test_a_newer_database_is_refused(tmp_path: Path, migrations: Path) -> None:
    second = migrations / "versions" / "second.py"
    second.write_text(SECOND)
    engine = open_database(tmp_path / "notes.db")
    migrate(engine, migrations)
    second.unlink()
    with pytest.raises(DatabaseTooNew) as caught:
        migrate(engine, migrations)
    assert "Update" in caught.value.hint
    assert tables(engine) == {"first", "second"}
    engine.dispose()


def test_a_killed_migration_leaves_a_database_that_migrates(tmp_path: Path, migrations: Path) -> None:
    file = tmp_path / "notes.db"
    engine = open_database(file)
    migrate(engine, migrations)
    engine.dispose()
    second = migrations / "versions" / "second.py"
    second.write_text(SECOND + KILL)
    killed = subprocess.run([sys.executable, "-c", MIGRATE, file, migrations], check=False)
    assert killed.returncode == -signal.SIGKILL
    engine = open_database(file)
    assert tables(engine) == {"first"}
    second.write_text(SECOND)
    migrate(engine, migrations)
    assert tables(engine) == {"first", "second"}
    engine.dispose()
