import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.inference.reading_speed import ReadingSpeeds, source_budget, this_machine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "reading-speeds.json"


def test_a_model_that_never_read_has_no_speed(file: Path) -> None:
    speeds = ReadingSpeeds(file)
    speeds.add("one", 1_000, 10.0)

    assert speeds.of("other") is None


def test_the_speed_survives_a_restart(file: Path) -> None:
    ReadingSpeeds(file).add("one", 1_000, 10.0)

    assert ReadingSpeeds(file).of("one") == pytest.approx(100.0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_one_slow_reading_among_others_does_not_count(file: Path) -> None:
    speeds = ReadingSpeeds(file)
    for seconds in (10.0, 10.0, 500.0, 10.0, 10.0):
        speeds.add("one", 1_000, seconds)

    assert speeds.of("one") == pytest.approx(100.0)


def test_a_machine_that_became_slower_is_noticed(file: Path) -> None:
    speeds = ReadingSpeeds(file)
    for seconds in [10.0] * 20 + [50.0] * 4:
        speeds.add("one", 1_000, seconds)

    assert speeds.of("one") == pytest.approx(20.0)


@pytest.mark.parametrize(("tokens", "seconds"), [(20, 1.0), (0, 0.0), (1_000, 0.0), (1_000, -1.0)])
def test_what_tells_no_speed_is_ignored(file: Path, tokens: int, seconds: float) -> None:
    speeds = ReadingSpeeds(file)
    speeds.add("one", tokens, seconds)

    assert speeds.of("one") is None


def test_another_machine_begins_anew(file: Path) -> None:
    ReadingSpeeds(file, machine="old, 2 threads").add("one", 1_000, 10.0)
    new = ReadingSpeeds(file, machine="new, 8 threads")
    assert new.of("one") is None
    new.add("one", 1_000, 1.0)

    assert ReadingSpeeds(file, machine="old, 2 threads").of("one") == pytest.approx(100.0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"m": {"one": "fast"}}', b"\xff\xfe"])
def test_a_damaged_file_is_as_none(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    speeds = ReadingSpeeds(file)
    assert speeds.of("one") is None
    speeds.add("one", 1_000, 10.0)

    assert speeds.of("one") == pytest.approx(100.0)
    json.loads(file.read_bytes())


def test_a_file_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    speeds = ReadingSpeeds(tmp_path / "missing" / "speeds.json")
    speeds.add("one", 1_000, 10.0)

    assert speeds.of("one") == 100.0


def test_this_machine_has_a_name() -> None:
    name = this_machine()
    assert name.endswith("threads")
    assert name == this_machine()


@pytest.mark.parametrize(
    ("speed", "other_tokens", "budget"),
    [
        (None, 0, 1_200),  # unknown: what the average machine can do
        (100.0, 0, 1_200),
        (100.0, 200, 1_000),  # the question and the system text have to be read in the same time
        (150.0, 300, 1_500),
        (10.0, 0, 600),
        (2_000.0, 0, 4_000),
        (100.0, 100_000, 600),
    ],
)
def test_sources_are_what_can_be_read_in_time(speed: float | None, other_tokens: int, budget: int) -> None:
    assert source_budget(speed, first_token_seconds=12.0, other_tokens=other_tokens) == budget


@given(
    st.none() | st.floats(0.0, 1e6),
    st.floats(0.1, 3_600.0),
    st.integers(0, 200_000),
)
def test_there_is_always_something_to_show_and_never_too_much(
    speed: float | None, first_token_seconds: float, other_tokens: int
) -> None:
    budget = source_budget(speed, first_token_seconds=first_token_seconds, other_tokens=other_tokens)
    assert 600 <= budget <= 4_000
