import stat
from pathlib import Path

import pytest

from coding_assistant.errors import DataDirectoryUnusable
from coding_assistant.inference.cache_salt import kept_salt


def test_a_salt_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "salt"
    first = kept_salt(file)

    assert kept_salt(file) == first
    assert len(first) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["salt"]


def test_two_directories_have_two(tmp_path: Path) -> None:
    assert kept_salt(tmp_path / "a") != kept_salt(tmp_path / "b")


def test_an_empty_one_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "salt").touch()

    assert kept_salt(tmp_path / "salt") == (tmp_path / "salt").read_text() != ""


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "salt").mkdir()
    with pytest.raises(DataDirectoryUnusable, match="salt"):
        kept_salt(tmp_path / "salt")
