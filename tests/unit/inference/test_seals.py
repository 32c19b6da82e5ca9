from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.inference.seals import seal, sealed_tokens

CONTENT = bytes(range(256)) * 1_000
TOKENS = (1, 151_645, 7)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(CONTENT)
    seal(file, "mine", TOKENS)
    return file


def test_a_sealed_file_begins_with_what_it_held_and_has_the_size_that_was_told(tmp_path: Path) -> None:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(CONTENT)

    assert seal(file, "mine", TOKENS) == file.stat().st_size
    assert file.read_bytes()[: len(CONTENT)] == CONTENT
    assert sealed_tokens(file, "mine") == TOKENS


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_file_that_nobody_sealed_is_told(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(content)

    assert sealed_tokens(file, "mine") is None
    assert sealed_tokens(tmp_path / "absent.kv", "mine") is None


def test_the_seal_of_another_kind_does_not_count(sealed: Path) -> None:
    assert sealed_tokens(sealed, "yours") is None


@given(kept=st.integers(0, len(CONTENT) + 79))
def test_a_file_that_was_cut_short_is_told(kept: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("cut") / "a1-b2.kv"
    file.write_bytes(CONTENT)
    seal(file, "mine", TOKENS)
    file.write_bytes(file.read_bytes()[:kept])

    assert sealed_tokens(file, "mine") is None


def test_a_hole_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a1-b2.kv"
    file.write_bytes(CONTENT * 20)
    seal(file, "mine", TOKENS)
    content = bytearray(file.read_bytes())
    content[3_000_000:3_500_000] = bytes(500_000)
    file.write_bytes(content)

    assert sealed_tokens(file, "mine") is None


@pytest.mark.parametrize("place", [0, 5_000, len(CONTENT) - 1, len(CONTENT) + 40])
def test_a_changed_byte_is_told(place: int, sealed: Path) -> None:
    content = bytearray(sealed.read_bytes())
    content[place] ^= 1
    sealed.write_bytes(content)

    assert sealed_tokens(sealed, "mine") is None


def test_a_file_that_goes_on_after_its_seal_is_told(sealed: Path) -> None:
    sealed.write_bytes(sealed.read_bytes() + b"x")

    assert sealed_tokens(sealed, "mine") is None
