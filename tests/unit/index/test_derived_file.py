import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coding_assistant.errors import DataDirectoryUnusable, IndexMissing
from coding_assistant.index.derived_file import DerivedFile

_SCHEMA = "CREATE TABLE words (word TEXT NOT NULL);"


def _file(path: Path, fingerprint: str = "one") -> DerivedFile:
    file = DerivedFile(path, schema=_SCHEMA, fingerprint=fingerprint)
    file.prepare()
    return file


def _add(file: DerivedFile, word: str) -> None:
    with file.writing() as connection:
        connection.execute("INSERT INTO words VALUES (?)", (word,))


def _words(file: DerivedFile) -> list[str]:
    with file.reading() as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "derived.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[DerivedFile]:
    with closing(_file(path)) as file:
        yield file


def test_what_was_written_is_there_after_opening_again(path: Path, file: DerivedFile) -> None:
    _add(file, "kept")
    file.close()
    with closing(_file(path)) as again:
        assert _words(again) == ["kept"]


def test_only_the_owner_may_read_it(path: Path, file: DerivedFile) -> None:
    _add(file, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_begun_in_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    with closing(_file(tmp_path / "indexes" / "project.sqlite")) as file:
        assert _words(file) == []


def test_another_fingerprint_begins_anew(path: Path, file: DerivedFile) -> None:
    _add(file, "old")
    with closing(_file(path, "two")) as other:
        assert _words(other) == []


def test_nothing_but_the_file_is_left_behind(path: Path, file: DerivedFile) -> None:
    _add(file, "word")
    _file(path, "two").close()
    file.close()
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f"{path.name}-journal"}


def test_what_a_killed_process_left_behind_is_removed(path: Path) -> None:
    leftover, others_work = (path.with_name(f"{path.name}.{word}.new") for word in ("old", "young"))
    leftover.touch()
    others_work.touch()
    os.utime(leftover, (1, 1))
    _file(path).close()
    assert (leftover.exists(), others_work.exists()) == (False, True)


def test_a_block_that_fails_writes_nothing(file: DerivedFile) -> None:
    def fail() -> None:
        with file.writing() as connection:
            connection.execute("INSERT INTO words VALUES ('half')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert _words(file) == []
    _add(file, "whole")
    assert _words(file) == ["whole"]


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\x00" + b"\xff" * 8_192])
def test_a_file_that_is_no_database_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with closing(_file(path)) as file:
        _add(file, "fresh")
        assert _words(file) == ["fresh"]


_PAGE = 4_096


def _damage(path: Path) -> None:
    """Overwrite every page but the first, which holds the names of the tables."""
    content = path.read_bytes()
    path.write_bytes(content[:_PAGE] + b"\x5a" * (len(content) - _PAGE))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:_PAGE])


@pytest.mark.parametrize("spoil", [_damage, _truncate])
def test_damage_is_noticed_when_the_file_is_opened(
    path: Path, file: DerivedFile, spoil: Callable[[Path], None]
) -> None:
    _add(file, "lost")
    file.close()
    spoil(path)
    with closing(_file(path)) as again:
        assert _words(again) == []


def test_damage_under_an_open_file_is_told_once(path: Path, file: DerivedFile) -> None:
    _add(file, "lost")
    _damage(path)
    with closing(DerivedFile(path, schema=_SCHEMA, fingerprint="one")) as late:
        with pytest.raises(IndexMissing, match="empty now"):
            _words(late)
        assert _words(late) == []
        _add(late, "new")
    assert _words(file) == ["new"]


def test_a_deleted_file_is_told_once(path: Path, file: DerivedFile) -> None:
    _add(file, "lost")
    path.unlink()
    with pytest.raises(IndexMissing):
        _words(file)
    assert _words(file) == []


def test_one_who_holds_the_old_file_goes_on_with_the_new_one(path: Path, file: DerivedFile) -> None:
    _add(file, "old")
    path.unlink()
    with closing(_file(path)) as other:
        _add(other, "new")
        assert _words(file) == ["new"]
        _add(file, "newer")
        assert _words(other) == ["new", "newer"]


def test_a_program_of_another_version_does_not_write_into_our_tables(path: Path, file: DerivedFile) -> None:
    with closing(_file(path, "two")) as other:
        _add(other, "theirs")
        with pytest.raises(IndexMissing):
            _add(file, "ours")
        assert _words(file) == []


def test_a_write_for_an_older_generation_is_refused(path: Path, file: DerivedFile) -> None:
    older = file.generation()
    path.unlink()
    with closing(_file(path)) as other:
        assert other.generation() != older
        with pytest.raises(IndexMissing), file.writing(generation=older):
            raise AssertionError("the block is not entered")
        _add(file, "new")
        assert _words(other) == ["new"]


def test_a_reader_sees_one_state_throughout(path: Path, file: DerivedFile) -> None:
    _add(file, "first")
    with file.reading() as connection:
        connection.execute("SELECT count(*) FROM words").fetchone()
        writer = sqlite3.connect(path, timeout=0, isolation_level=None)
        with closing(writer), pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.executescript("BEGIN IMMEDIATE; INSERT INTO words VALUES ('second'); COMMIT")
    assert _words(file) == ["first"]


def test_threads_write_and_read_at_the_same_time(file: DerivedFile) -> None:
    def work(number: int) -> None:
        for step in range(10):
            _add(file, f"{number}.{step}")
            assert f"{number}.{step}" in _words(file)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_words(file)) == 40


def test_closing_while_a_connection_is_lent_out_harms_nobody(file: DerivedFile) -> None:
    with file.writing() as connection:
        file.close()
        connection.execute("INSERT INTO words VALUES ('kept')")


def test_a_folder_in_its_place_is_an_error_that_says_so(path: Path) -> None:
    path.mkdir()
    with pytest.raises(DataDirectoryUnusable, match=r"derived\.sqlite"):
        _file(path)
