from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.inference.seals import is_sealed, seal

CONTENT = bytes(range(256)) * 1_000


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(CONTENT)
    seal(file, "mine")
    return file


def test_a_sealed_file_begins_with_what_it_held_and_has_the_size_that_was_told(tmp_path: Path) -> None:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(CONTENT)

    assert seal(file, "mine") == file.stat().st_size
    assert file.read_bytes()[: len(CONTENT)] == CONTENT
    assert is_sealed(file, "mine")


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_file_that_nobody_sealed_is_told(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(content)

    assert not is_sealed(file, "mine")
    assert not is_sealed(tmp_path / "absent.kv", "mine")


def test_the_seal_of_another_kind_does_not_count(sealed: Path) -> None:
    assert not is_sealed(sealed, "yours")


@given(kept=st.integers(0, len(CONTENT) + 59))
def test_a_file_that_was_cut_short_is_told(kept: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("cut") / "a1-b2.kv"
    file.write_bytes(CONTENT)
    seal(file, "mine")
    file.write_bytes(file.read_bytes()[:kept])

    assert not is_sealed(file, "mine")


def test_a_hole_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(CONTENT * 20)
    seal(file, "mine")
    content = bytearray(file.read_bytes())
    content[3_000_000:3_500_000] = bytes(500_000)
    file.write_bytes(content)

    assert not is_sealed(file, "mine")


@pytest.mark.parametrize("place", [0, 5_000, len(CONTENT) - 1, len(CONTENT) + 40])
def test_a_changed_byte_is_told(place: int, sealed: Path) -> None:
    content = bytearray(sealed.read_bytes())
    content[place] ^= 1
    sealed.write_bytes(content)

    assert not is_sealed(sealed, "mine")


def test_a_file_that_goes_on_after_its_seal_is_told(sealed: Path) -> None:
    sealed.write_bytes(sealed.read_bytes() + b"x")

    assert not is_sealed(sealed, "mine")
