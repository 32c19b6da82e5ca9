from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coding_assistant.cli import watching
from coding_assistant.cli.watching import changes, lies_in, unread_places


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(watching, "DEBOUNCE_MILLISECONDS", 50)
    monkeypatch.setattr(watching, "FIRST_WAIT_MILLISECONDS", 50)
    root = tmp_path / "project"
    for folder in (".git", "built", "data", "src"):
        (root / folder).mkdir(parents=True)
    (root / ".gitignore").write_text("built/\n")
    return root


def seen(watched: Iterator[None], changed: Path) -> None:
    """Change a file and wait until that is seen."""
    changed.write_text("changed")
    next(watched)


def test_the_first_comes_without_a_change_and_then_each_change_counts(root: Path) -> None:
    with closing(changes(root, data_directory=root / "data")) as watched:
        next(watched)
        seen(watched, root / "src" / "a.py")
        (root / "new").mkdir()
        next(watched)
        seen(watched, root / "new" / "b.py")


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("src/a.py", True),
        (".gitignore", True),
        ("builtin/a.py", True),
        ("built/deep/a.o", False),
        (".git/index", False),
        ("data/indexes/x.sqlite3-wal", False),
    ],
)
def test_what_no_walk_reads_and_what_an_update_writes_wakes_nobody(
    root: Path, changed: str, *, counts: bool
) -> None:
    unread = unread_places(root, data_directory=root / "data")
    assert lies_in(root / changed, unread) is not counts
