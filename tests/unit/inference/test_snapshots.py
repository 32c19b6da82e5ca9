import os
import shutil
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.errors import DataDirectoryUnusable
from coding_assistant.inference.snapshots import FRONT_PREFIX, SnapshotFolder
from support.examples import costly

HERE, ELSEWHERE = "5c1bed", "0dd"
DAY_SECONDS = 24 * 3_600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def kept(folder: SnapshotFolder, path: Path, owner: str, size: int, *, fingerprint: str = HERE) -> bool:
    """Do as a save does: make room, have the engine write, take it in."""
    folder.make_room(fingerprint)
    (path / folder.name(fingerprint, owner)).write_bytes(bytes(size))
    return folder.keep(fingerprint, owner)


def owners(path: Path) -> list[str]:
    return sorted(each.stem.partition("-")[2] for each in path.iterdir())


def age(path: Path, name: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path / name, (then, then))


def test_the_one_unused_for_the_longest_goes_first(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=300)
    for owner in "12345678":  # faster than the clock of files ticks
        assert kept(folder, path, owner, 100)
    folder.mark_as_used(HERE, "6")

    assert kept(folder, path, "9", 100)
    assert owners(path) == ["6", "8", "9"]


def test_one_that_is_larger_than_the_budget_is_not_kept_and_drives_nobody_out(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=300)
    kept(folder, path, "a", 100)

    assert not kept(folder, path, "b", 301)
    assert owners(path) == ["a"]


def test_a_saved_owner_takes_his_place_only_once(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=300)
    for size in (100, 200, 150):
        kept(folder, path, "a", size)
    kept(folder, path, "b", 150)

    assert owners(path) == ["a", "b"]


def test_outdated_ones_of_another_engine_go_before_all_others(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=300)
    kept(folder, path, "a", 100)
    kept(folder, path, "b", 100, fingerprint=ELSEWHERE)
    kept(folder, path, "c", 100, fingerprint=ELSEWHERE)
    age(path, folder.name(HERE, "a"), 9 * DAY_SECONDS)
    age(path, folder.name(ELSEWHERE, "b"), 2 * DAY_SECONDS)

    kept(folder, path, "d", 100)
    assert owners(path) == ["a", "c", "d"]
    kept(folder, path, "e", 100)
    assert owners(path) == ["c", "d", "e"]  # another model of the same user, that he used today


def test_a_smaller_budget_holds_from_the_next_save_on(path: Path) -> None:
    kept(SnapshotFolder(path, most_bytes=1_000), path, "a", 500)

    assert SnapshotFolder(path, most_bytes=400).make_room(HERE)
    assert owners(path) == []


def test_without_a_budget_nothing_is_kept(path: Path) -> None:
    kept(SnapshotFolder(path, most_bytes=1_000), path, "a", 500)

    assert not SnapshotFolder(path, most_bytes=0).make_room(HERE)
    assert owners(path) == []


def test_half_of_the_disk_stays_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=400 - sum(each.stat().st_size for each in folder.iterdir()))

    folder = SnapshotFolder(path, most_bytes=10_000)
    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    kept(folder, path, "a", 100)
    kept(folder, path, "b", 100)
    kept(folder, path, "c", 100)

    assert owners(path) == ["b", "c"]
    assert not kept(folder, path, "d", 300)


def test_an_owners_snapshots_of_all_engines_go_and_what_a_killed_one_left(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=1_000)
    kept(folder, path, "a", 10)
    kept(folder, path, "a", 10, fingerprint=ELSEWHERE)
    kept(folder, path, "a-b", 10)
    kept(folder, path, "aa", 10)
    for name in (folder.name(HERE, "a"), folder.name(HERE, "c")):
        (path / f"{name}.new").write_bytes(b"half of it")
    folder.delete("a", "c")

    assert owners(path) == ["a-b", "aa"]


def test_an_heir_gets_all_and_nothing_is_left_of_the_owner(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=1_000)
    for fingerprint in (HERE, ELSEWHERE):
        kept(folder, path, "a", 10, fingerprint=fingerprint)
    (path / f"{folder.name(HERE, 'a')}.new").write_bytes(b"half of it")
    kept(folder, path, "b", 10)
    folder.hand_over("a", "c")

    assert sorted(each.name for each in path.iterdir()) == ["0dd-c.kv", "5c1bed-b.kv", "5c1bed-c.kv"]


def test_what_cannot_be_deleted_is_said_and_the_rest_is_deleted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SnapshotFolder(path, most_bytes=1_000)
    for owner in "abc":
        kept(folder, path, owner, 10)
    unlink = Path.unlink

    def refusing(file: Path, *, missing_ok: bool = False) -> None:
        if file.stem.endswith("-a"):
            raise PermissionError(1, "Operation not permitted")
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    with pytest.raises(DataDirectoryUnusable, match="Operation not permitted"):
        folder.delete("a", "b")
    assert owners(path) == ["a", "c"]


def test_a_folder_that_cannot_be_listed_hides_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataDirectoryUnusable, match="Permission denied"):
        SnapshotFolder(path, most_bytes=1_000).delete("a")


def test_what_belongs_to_nobody_any_more_goes_but_common_fronts_stay(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=1_000)
    for owner in ("a", "b", f"{FRONT_PREFIX}c"):
        kept(folder, path, owner, 10)
        kept(folder, path, owner, 10, fingerprint=ELSEWHERE)
    (path / f"{folder.name(HERE, 'b')}.part").write_bytes(bytes(5))
    (path / "notes.txt").write_bytes(bytes(5))
    folder.keep_only({"a"})
    assert owners(path) == ["", "a", "a", "f-c", "f-c"]
    folder.keep_only(())
    assert owners(path) == ["", "f-c", "f-c"]


def test_what_belongs_to_nobody_and_cannot_be_deleted_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SnapshotFolder(path, most_bytes=1_000)
    kept(folder, path, "a", 10)

    def refusing(_file: Path, **_how: bool) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refusing)
    with pytest.raises(DataDirectoryUnusable, match="Operation not permitted"):
        folder.keep_only(())


def test_only_their_user_can_read_them(path: Path) -> None:
    path.mkdir(mode=0o755)
    folder = SnapshotFolder(path, most_bytes=1_000)
    kept(folder, path, "a", 10)

    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / folder.name(HERE, "a")).stat().st_mode) == 0o600


def test_files_of_others_are_left_alone(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=100)
    folder.make_room(HERE)
    for name in ("notes.txt", "README", ".hidden"):
        (path / name).write_bytes(bytes(200))
    kept(folder, path, "a", 100)
    folder.delete("a")

    assert sorted(each.name for each in path.iterdir()) == [".hidden", "README", "notes.txt"]


def test_no_folder_is_an_empty_one(path: Path) -> None:
    folder = SnapshotFolder(path, most_bytes=100)
    folder.delete("a")
    folder.discard(HERE, "a")

    assert not folder.has(HERE, "a")
    assert not path.exists()


@pytest.mark.parametrize(
    ("fingerprint", "owner"),
    [("", "a"), ("5c", ""), ("5c-", "a"), ("5c", "../a"), ("5c", "A"), ("5c/", "a"), ("5c", "a.kv")],
)
def test_no_name_leads_elsewhere(path: Path, fingerprint: str, owner: str) -> None:
    with pytest.raises(ValueError, match="no name of a snapshot"):
        SnapshotFolder(path, most_bytes=100).name(fingerprint, owner)


@costly
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 120)), max_size=12))
def test_the_budget_always_holds_and_the_last_one_kept_is_there(
    tmp_path_factory: pytest.TempPathFactory, saves: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("snapshots")
    folder = SnapshotFolder(path, most_bytes=200)
    for owner, size in saves:
        assert kept(folder, path, owner, size)
        assert folder.has(HERE, owner)
        assert sum(each.stat().st_size for each in path.iterdir()) <= 200
