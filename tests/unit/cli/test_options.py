from pathlib import Path

import pytest

from coding_assistant.cli.options import chosen_folder, repository_root


@pytest.mark.parametrize("mark", [".git", ".hg", ".svn"])
def test_the_repository_around_a_folder(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).mkdir()
    inside = tmp_path / "src" / "deep"
    inside.mkdir(parents=True)
    assert repository_root(inside) == tmp_path
    assert repository_root(tmp_path) == tmp_path


def test_a_work_tree_whose_git_is_a_file(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    assert repository_root(tmp_path) == tmp_path


def test_the_nearest_repository_wins(tmp_path: Path) -> None:
    inner = tmp_path / "vendored"
    (tmp_path / ".git").mkdir()
    (inner / ".git").mkdir(parents=True)
    assert repository_root(inner) == inner


def test_a_folder_that_is_named_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "part").mkdir()
    monkeypatch.chdir(tmp_path)
    assert chosen_folder(Path("part")) == tmp_path / "part"
    monkeypatch.chdir(tmp_path / "part")
    assert chosen_folder(None) == tmp_path
