from pathlib import Path

import pytest

from coding_assistant.inference.engine_speeds import EngineSpeed, EngineSpeeds

SPEED = EngineSpeed(reading=152.4, writing=35.1, measured_at="2026-11-23T01:00:00+00:00")
FASTER = EngineSpeed(reading=160.0, writing=36.0, measured_at="2026-11-24T01:00:00+00:00")


def test_a_speed_is_remembered_by_engine_and_model(tmp_path: Path) -> None:
    file = tmp_path / "speeds.json"
    EngineSpeeds(file).add("native b1", "small", SPEED)
    EngineSpeeds(file).add("bundled b2", "small", FASTER)

    assert EngineSpeeds(file).of("native b1") == {"small": SPEED}
    assert EngineSpeeds(file).of("bundled b2") == {"small": FASTER}
    assert EngineSpeeds(file).of("native b3") == {}


def test_a_new_measurement_takes_the_place_of_the_old(tmp_path: Path) -> None:
    speeds = EngineSpeeds(tmp_path / "speeds.json")
    speeds.add("native", "small", SPEED)
    speeds.add("native", "small", FASTER)

    assert speeds.of("native") == {"small": FASTER}


def test_another_machine_has_speeds_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "speeds.json"
    EngineSpeeds(file, machine="here").add("native", "small", SPEED)

    assert EngineSpeeds(file, machine="there").of("native") == {}


@pytest.mark.parametrize("content", ["", "{", '{"here": []}'])
def test_a_damaged_file_costs_only_what_was_in_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "speeds.json"
    file.write_text(content)
    speeds = EngineSpeeds(file)

    assert speeds.of("native") == {}
    speeds.add("native", "small", SPEED)
    assert speeds.of("native") == {"small": SPEED}


def test_a_file_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    EngineSpeeds(tmp_path / "absent" / "speeds.json").add("native", "small", SPEED)
