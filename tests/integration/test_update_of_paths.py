"""An update that is told what has changed comes to the same as one that looks at everything."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import FilesCompared, IndexFinished
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.store import ProjectIndex
from support.examples import costly
from support.indexing import an_hour_later_ns, bring_settled, paths_found

_PATHS = (
    "a.py",
    "b.txt",
    "pkg",
    "pkg/a.py",
    "pkg/b.txt",
    "pkg/deep",
    "pkg/deep/a.py",
    "pkg/deep/a.py/odd.py",
    "pkg.py",
    "pkg-old/a.py",
    "node_modules/a.py",
    "pkg/key.pem",
)
_RULES = (".gitignore", "pkg/.gitignore", ".assistantignore", ".git/info/exclude", "pkg/deep/pyvenv.cfg")
_CONTENTS = ("word = 1\n", "giraffe = 2\n", "\0", "other words\n" * 3)
_RULE_LINES = ("*.txt\n", "deep/\n", "pkg\n", "!b.txt\n", "/a.py\n", "")

_changes = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(_PATHS), st.sampled_from(_CONTENTS)),
    st.tuples(st.just("write"), st.sampled_from(_RULES), st.sampled_from(_RULE_LINES)),
    st.tuples(st.just("delete"), st.sampled_from(_PATHS + _RULES), st.just("")),
    st.tuples(st.just("rename"), st.sampled_from(_PATHS), st.sampled_from(_PATHS)),
    st.tuples(st.just("link"), st.sampled_from(_PATHS), st.sampled_from(("a.py", "pkg", "nowhere"))),
)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _apply(root: Path, change: tuple[str, str, str]) -> set[PurePosixPath]:
    """Change the tree and return what a watcher would tell; what cannot be done is left undone."""
    action, name, value = change
    path = root / name
    try:
        match action:
            case "write":
                _make_way(root, path)
                path.write_text(value)
            case "delete":
                _delete(path)
            case "rename":
                target = root / value
                if path.exists() and target not in path.parents and path not in target.parents:
                    _make_way(root, target)
                    path.rename(target)
                    return {PurePosixPath(name), *_told(root, target)}
            case "link":
                _make_way(root, path)
                _delete(path)
                path.symlink_to(root / value)
    except OSError:
        pass
    return set(_told(root, path))


def _make_way(root: Path, path: Path) -> None:
    """Make the folders above a path, in the place of files and links; a link or a folder gives way to it."""
    for folder in reversed(path.relative_to(root).parents):
        if (root / folder).is_symlink() or (root / folder).is_file():
            (root / folder).unlink()
        (root / folder).mkdir(exist_ok=True)
    if path.is_dir() or path.is_symlink():
        _delete(path)


def _told(root: Path, path: Path) -> Iterator[PurePosixPath]:
    relative = PurePosixPath(path.relative_to(root))
    yield relative
    yield from (folder for folder in relative.parents if folder.parts)


def _contents(index: ProjectIndex) -> object:
    files = {path: digest for path, (_, digest) in index.stamps().items()}
    passed_over = {path: file.reason for path, file in index.passed_over().items()}
    return files, passed_over, index.counts()


@costly
@given(st.lists(st.lists(_changes, min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_a_watcher_tells_is_enough(rounds: list[list[tuple[str, str, str]]]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        root.mkdir()
        fingerprint = index_fingerprint()
        with (
            closing(ProjectIndex.open(Path(folder) / "told", fingerprint=fingerprint)) as told,
            closing(ProjectIndex.open(Path(folder) / "looked", fingerprint=fingerprint)) as looked,
        ):
            bring_settled(told, root)
            for changes in rounds:
                paths = {path for change in changes for path in _apply(root, change)}
                list(update(told, root, only=paths, now_ns=an_hour_later_ns))
                bring_settled(looked, root)
                assert _contents(told) == _contents(looked)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "kept.py").write_text("zebra = 1\n")
    (root / "pkg" / "other.py").write_text("walrus = 1\n")
    return root


@pytest.fixture
def index(tmp_path: Path, root: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(tmp_path / "index.sqlite", fingerprint=index_fingerprint())) as index:
        bring_settled(index, root)
        yield index


def _update(index: ProjectIndex, root: Path, *names: str) -> tuple[FilesCompared, IndexFinished]:
    compared, *_, finished = list(update(index, root, only=[PurePosixPath(name) for name in names]))
    assert isinstance(compared, FilesCompared)
    assert isinstance(finished, IndexFinished)
    return compared, finished


def test_nothing_else_is_looked_at(index: ProjectIndex, root: Path) -> None:
    (root / "pkg" / "kept.py").write_text("giraffe = 22\n")
    (root / "pkg" / "other.py").write_text("okapi = 22\n")
    compared, finished = _update(index, root, "pkg/kept.py")
    assert (compared.total, compared.to_index, finished.stats.files) == (1, 1, 2)
    assert (paths_found(index, "giraffe"), paths_found(index, "okapi")) == ({"pkg/kept.py"}, set())


def test_a_folder_that_was_renamed_takes_its_files_along(index: ProjectIndex, root: Path) -> None:
    (root / "pkg").rename(root / "package")
    _update(index, root, "pkg", "package")
    assert paths_found(index, "zebra") == {"package/kept.py"}


def test_a_folder_whose_name_begins_another_s_does_not_take_that_along(
    index: ProjectIndex, root: Path
) -> None:
    shutil.copytree(root / "pkg", root / "pkg-old")
    _update(index, root, "pkg-old")
    shutil.rmtree(root / "pkg")
    _update(index, root, "pkg")
    assert paths_found(index, "zebra") == {"pkg-old/kept.py"}


def test_no_path_outside_the_project_is_looked_at(index: ProjectIndex, root: Path) -> None:
    (root.parent / "outside.py").write_text("giraffe = 1\n")
    _update(index, root, "../outside.py", "/etc/hostname", "pkg/../../outside.py")
    assert paths_found(index, "giraffe") == set()
    assert index.counts().files == 2


def test_an_index_that_was_begun_anew_is_filled_whole(
    tmp_path: Path, index: ProjectIndex, root: Path
) -> None:
    os.unlink(tmp_path / "index.sqlite")  # noqa: PTH108  -- under the hands of an index that is open
    (finished,) = (
        event
        for event in update(index, root, only=[PurePosixPath("pkg/kept.py")])
        if isinstance(event, IndexFinished)
    )
    assert finished.stats.files == 2
