from pathlib import Path

import pytest

from coding_assistant.project.near_paths import near_file, near_folder


@pytest.mark.parametrize("typed", ["work/projct", "wrk/project", "wokr/projcet", "work/Project"])
def test_each_part_of_a_path_may_be_misspelt(tmp_path: Path, typed: str) -> None:
    folder = tmp_path / "work" / "project"
    folder.mkdir(parents=True)

    assert near_folder(tmp_path / typed) == folder


def test_nothing_near_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()

    assert near_folder(tmp_path / "elsewhere") is None
    assert near_folder(tmp_path / "work" / "project") is None
    assert near_folder(Path("/\0")) is None


def test_a_file_is_no_folder_and_has_its_ending(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "modle.txt").write_bytes(b"")
    wanted = tmp_path / "model-1.GGUF"
    wanted.write_bytes(b"")

    assert near_file(tmp_path / "model1.gguf", suffix=".gguf") == wanted
    assert near_folder(tmp_path / "modle") == tmp_path / "model"


def test_a_folder_that_cannot_be_read_has_nothing_near(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert near_folder(tmp_path / "file" / "below") is None
