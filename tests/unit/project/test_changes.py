import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.errors import SystemLacks
from coding_assistant.project import changes
from coding_assistant.project.changes import FolderWatch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = (tmp_path / "project").resolve()
    for folder in (".git/info", "data", "src/deep", "node_modules"):
        (root / folder).mkdir(parents=True)
    (root / "src" / "old.py").write_text("old")
    return root


@pytest.fixture
def watch(root: Path) -> Iterator[FolderWatch]:
    with closing(FolderWatch(root, unheeded=[root / "data"])) as watch:
        yield watch


def _taken(watch: FolderWatch) -> set[str]:
    changed = watch.take()
    assert changed is not None
    return set(map(str, changed))


def _has_news(watch: FolderWatch) -> bool:
    return watch.has_news


def test_what_happened_before_the_question_is_told_and_told_once(root: Path, watch: FolderWatch) -> None:
    (root / "src" / "new.py").write_text("new")
    assert _taken(watch) == {"src/new.py"}
    assert _taken(watch) == set()
    (root / "src" / "old.py").unlink()
    assert _taken(watch) == {"src/old.py"}


def test_a_folder_that_is_renamed_is_told_by_both_names_and_still_watched(
    root: Path, watch: FolderWatch
) -> None:
    (root / "src").rename(root / "source")
    assert _taken(watch) == {"src", "source"}
    (root / "source" / "new.py").write_text("new")
    assert "source/new.py" in _taken(watch)


def test_a_folder_that_is_made_with_all_that_is_in_it_stands_for_that(root: Path, watch: FolderWatch) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "c.py").write_text("c")
    assert "a" in _taken(watch)


@pytest.mark.parametrize(
    "name", [".git/index", "node_modules/x.js", "data/index.sqlite3", "src/deep/.git/info/exclude"]
)
def test_what_no_walk_reads_is_not_told(root: Path, watch: FolderWatch, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("changed")
    assert _taken(watch) <= {"src/deep"}


def test_the_exclude_file_of_git_counts(root: Path, watch: FolderWatch) -> None:
    (root / ".git" / "info" / "exclude").write_text("*.py\n")
    assert _taken(watch) == {".git/info/exclude"}


def test_news_are_there_until_they_are_taken(root: Path, watch: FolderWatch) -> None:
    assert not _has_news(watch)
    (root / "src" / "new.py").write_text("new")
    while not _has_news(watch):  # the system tells a moment later
        pass
    watch.take()
    assert not _has_news(watch)


def test_of_too_many_changes_it_is_only_told_that_there_were(
    root: Path, watch: FolderWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST_CHANGES", 3)
    for number in range(5):
        (root / "src" / f"{number}.py").write_text("new")
    assert watch.take() is None
    assert watch.take() == set()


def test_a_root_that_was_replaced_is_not_trusted(root: Path, watch: FolderWatch) -> None:
    root.rename(root.parent / "away")
    root.mkdir()
    assert _has_news(watch)
    assert watch.take() is None
    assert watch.take() is None


def test_a_root_that_was_made_again_is_not_trusted_whatever_its_number(
    root: Path, watch: FolderWatch
) -> None:
    for _ in range(2):
        shutil.rmtree(root)
        root.mkdir()  # often with the inode number of the old one
        assert watch.take() is None
        assert watch.has_failed
        assert _has_news(watch)


def test_a_root_that_went_and_came_back_is_not_trusted(root: Path, watch: FolderWatch) -> None:
    root.rename(root.parent / "away")
    (root.parent / "away").rename(root)
    assert watch.take() is None
    assert watch.has_failed


def test_a_root_whose_rights_change_is_still_watched(root: Path, watch: FolderWatch) -> None:
    root.chmod(0o700)
    assert "." in _taken(watch)
    assert not watch.has_failed


def test_without_its_folder_for_marks_it_is_not_trusted(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with closing(FolderWatch(root)) as watch:
        shutil.rmtree(temporary)
        assert watch.take() is None
        assert watch.has_failed
        assert _has_news(watch)
    with pytest.raises(SystemLacks):
        FolderWatch(root)


def test_a_failure_within_the_native_code_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(*_paths: Path, **_options: object) -> Iterator[set[tuple[int, str]]]:
        yield set()
        raise RuntimeError("error in underlying watcher")

    monkeypatch.setattr("watchfiles.watch", watch)
    with pytest.raises(SystemLacks, match="error in underlying watcher"):
        FolderWatch(root)


def test_nothing_is_written_in_the_project(root: Path, watch: FolderWatch) -> None:
    before = sorted(root.rglob("*"))
    watch.take()
    assert sorted(root.rglob("*")) == before


def test_several_threads_may_ask(root: Path, watch: FolderWatch) -> None:
    (root / "src" / "new.py").write_text("new")
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda _: watch.take(), range(8)))
    assert sorted(map(len, filter(None, taken))) == [1]
    assert PurePosixPath("src/new.py") in set().union(*filter(None, taken))
