"""The index is as fresh as the working tree, whatever happens to the files; nothing here sleeps.

Where a test needs stamps that are trusted, it sets the time of modification by hand and brings the index up
to date as if an hour had passed (``bring_settled``): only another stamp is a reason to read again, then.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.domain import FilesCompared, FileSkipped, SkipReason
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.search import Searcher
from coding_assistant.index.store import ProjectIndex
from support.indexing import an_hour_later_ns, bring_settled, bring_up_to_date, paths_found

_LONG_AGO = 1_600_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    _put(root, "kept.py", "kept = 'zebra'\n")
    _put(root, "other.py", "other = 'walrus'\n")
    return root


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(tmp_path / "index.sqlite", fingerprint=index_fingerprint())) as index:
        yield index


def _put(root: Path, name: str, text: str, *, modified: float = _LONG_AGO) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (modified, modified))


def _files_to_read(index: ProjectIndex, root: Path) -> int:
    (compared,) = (event for event in update(index, root) if isinstance(event, FilesCompared))
    return compared.to_index


def test_a_settled_tree_is_not_read_again(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    stats = bring_settled(index, root)
    assert (stats.files, stats.changed, stats.removed) == (2, 0, 0)
    assert _files_to_read(index, root) == 0


def test_an_edit_is_found_and_the_old_text_is_not(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    _put(root, "kept.py", "kept = 'giraffe'\n", modified=_LONG_AGO + 1)
    assert bring_settled(index, root).changed == 1
    assert (paths_found(index, "giraffe"), paths_found(index, "zebra")) == ({"kept.py"}, set())


def test_an_added_file_is_found(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    _put(root, "new/deep/file.py", "giraffe = 1\n")
    assert bring_settled(index, root).changed == 1
    assert paths_found(index, "giraffe") == {"new/deep/file.py"}


def test_a_deleted_file_is_gone(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    (root / "kept.py").unlink()
    stats = bring_settled(index, root)
    assert (stats.files, stats.removed) == (1, 1)
    assert paths_found(index, "zebra") == set()


def test_a_deleted_folder_is_gone(root: Path, index: ProjectIndex) -> None:
    for name in ("deep/a.py", "deep/er/b.py"):
        _put(root, name, "giraffe = 1\n")
    bring_settled(index, root)
    shutil.rmtree(root / "deep")
    assert bring_settled(index, root).removed == 2
    assert paths_found(index, "giraffe") == set()


def test_a_renamed_file_is_found_under_its_new_name_only(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    (root / "kept.py").rename(root / "renamed.py")
    bring_settled(index, root)
    assert paths_found(index, "zebra") == {"renamed.py"}


def test_two_files_that_change_names_change_contents(root: Path, index: ProjectIndex) -> None:
    _put(root, "a.py", "text = 'giraffe'\n")
    _put(root, "b.py", "text = 'penguin'\n", modified=_LONG_AGO + 1)
    bring_settled(index, root)
    (root / "a.py").rename(root / "c.py")
    (root / "b.py").rename(root / "a.py")
    (root / "c.py").rename(root / "b.py")
    bring_settled(index, root)
    assert (paths_found(index, "giraffe"), paths_found(index, "penguin")) == ({"b.py"}, {"a.py"})


def test_a_file_replaced_by_a_folder(root: Path, index: ProjectIndex) -> None:
    _put(root, "thing", "giraffe\n")
    bring_settled(index, root)
    (root / "thing").unlink()
    _put(root, "thing/inside.py", "penguin = 1\n")
    bring_settled(index, root)
    assert (paths_found(index, "giraffe"), paths_found(index, "penguin")) == (set(), {"thing/inside.py"})


def test_a_folder_replaced_by_a_file(root: Path, index: ProjectIndex) -> None:
    _put(root, "thing/inside.py", "penguin = 1\n")
    bring_settled(index, root)
    shutil.rmtree(root / "thing")
    _put(root, "thing", "giraffe\n")
    bring_settled(index, root)
    assert (paths_found(index, "giraffe"), paths_found(index, "penguin")) == ({"thing"}, set())


def test_a_file_replaced_by_a_link_is_dropped(tmp_path: Path, root: Path, index: ProjectIndex) -> None:
    (tmp_path / "outside.py").write_text("giraffe = 1\n")
    bring_settled(index, root)
    (root / "kept.py").unlink()
    (root / "kept.py").symlink_to(tmp_path / "outside.py")
    stats = bring_settled(index, root)
    assert (stats.removed, stats.skipped) == (1, {SkipReason.LINK: 1})
    assert paths_found(index, "giraffe zebra") == set()


def test_a_folder_replaced_by_a_link_is_dropped(tmp_path: Path, root: Path, index: ProjectIndex) -> None:
    _put(root, "deep/a.py", "penguin = 1\n")
    _put(tmp_path, "outside/a.py", "giraffe = 1\n")
    bring_settled(index, root)
    shutil.rmtree(root / "deep")
    (root / "deep").symlink_to(tmp_path / "outside")
    bring_settled(index, root)
    assert paths_found(index, "giraffe penguin") == set()


def test_another_size_under_the_same_time_is_noticed(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    _put(root, "kept.py", "kept = 'a giraffe'\n")
    bring_settled(index, root)
    assert paths_found(index, "giraffe") == {"kept.py"}


def test_the_same_size_under_the_same_time_is_noticed(
    tmp_path: Path, root: Path, index: ProjectIndex
) -> None:
    bring_settled(index, root)
    _put(tmp_path, "older.py", "kept = 'camel'\n")
    shutil.copy2(tmp_path / "older.py", root / "kept.py")  # as cp -p, tar and rsync -t do
    bring_settled(index, root)
    assert (paths_found(index, "camel"), paths_found(index, "zebra")) == ({"kept.py"}, set())


def test_a_file_that_could_not_be_read_is_tried_again(root: Path, index: ProjectIndex) -> None:
    _put(root, "deep/a.py", "text = 'giraffe'\n")
    events = update(index, root, now_ns=an_hour_later_ns)
    assert any(isinstance(event, FilesCompared) for event in events)  # the walk is over
    (root / "deep").rename(root / "away")
    assert FileSkipped(PurePosixPath("deep/a.py"), SkipReason.UNREADABLE) in list(events)
    (root / "away").rename(root / "deep")  # the file's own stamp is what it was
    stats = bring_settled(index, root)
    assert (paths_found(index, "giraffe"), stats.skipped) == ({"deep/a.py"}, {})


def test_a_change_in_the_second_of_the_indexing_is_noticed(root: Path, index: ProjectIndex) -> None:
    stamp = (root / "other.py").stat().st_ctime  # now, by the file system's clock
    _put(root, "kept.py", "kept = 'zebra'\n", modified=stamp)
    bring_up_to_date(index, root)
    _put(root, "kept.py", "kept = 'camel'\n", modified=stamp)
    bring_up_to_date(index, root)
    assert (paths_found(index, "camel"), paths_found(index, "zebra")) == ({"kept.py"}, set())


def test_a_file_from_the_future_is_read_every_time_but_not_cut_again(root: Path, index: ProjectIndex) -> None:
    _put(root, "kept.py", "kept = 'zebra'\n", modified=4_000_000_000)
    bring_settled(index, root)
    assert _files_to_read(index, root) == 1
    assert bring_settled(index, root).changed == 0


def test_a_touched_file_is_read_once_more_and_then_settled(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    os.utime(root / "kept.py", (_LONG_AGO + 5, _LONG_AGO + 5))
    assert bring_settled(index, root).changed == 0
    assert _files_to_read(index, root) == 0


def test_a_file_that_becomes_ignored_is_dropped_and_comes_back(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    _put(root, ".gitignore", "kept.py\n")
    bring_settled(index, root)
    assert paths_found(index, "zebra") == set()
    _put(root, ".gitignore", "# nothing\n", modified=_LONG_AGO + 1)
    bring_settled(index, root)
    assert paths_found(index, "zebra") == {"kept.py"}


def test_a_file_that_becomes_binary_is_dropped_and_comes_back(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    (root / "kept.py").write_bytes(b"\x00\x01\x02" * 99)
    stats = bring_settled(index, root)
    assert (stats.files, stats.skipped) == (1, {SkipReason.BINARY: 1})
    _put(root, "kept.py", "kept = 'zebra again'\n")
    stats = bring_settled(index, root)
    assert (stats.files, stats.skipped) == (2, {})
    assert paths_found(index, "zebra") == {"kept.py"}


def test_what_was_passed_over_is_not_read_again(root: Path, index: ProjectIndex) -> None:
    (root / "data").write_bytes(b"\x00\x01\x02" * 99)
    assert bring_settled(index, root).skipped == {SkipReason.BINARY: 1}
    assert _files_to_read(index, root) == 0


def test_a_passed_over_file_that_is_deleted_is_counted_no_more(root: Path, index: ProjectIndex) -> None:
    (root / "data").write_bytes(b"\x00\x01\x02" * 99)
    bring_settled(index, root)
    (root / "data").unlink()
    stats = bring_settled(index, root)
    assert (stats.skipped, stats.removed) == ({}, 0)


def test_what_was_cut_without_its_syntax_is_counted_and_cut_again(
    root: Path, index: ProjectIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(root, "kept.py", "def kept():\n    return 'zebra'\n")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(root / "absent"))  # no child can be started
        stats = bring_settled(index, root)
    assert (stats.files, stats.degraded, paths_found(index, "zebra")) == (2, 2, {"kept.py"})
    stats = bring_settled(index, root)
    assert (stats.changed, stats.degraded) == (2, 0)
    assert [hit.chunk.symbol for hit in Searcher(index).search("zebra", limit=1)] == ["kept"]
    assert _files_to_read(index, root) == 0


def test_an_emptied_tree_gives_an_empty_index(root: Path, index: ProjectIndex) -> None:
    bring_settled(index, root)
    shutil.rmtree(root)
    root.mkdir()
    stats = bring_settled(index, root)
    assert (stats.files, stats.chunks, stats.removed) == (0, 0, 2)
