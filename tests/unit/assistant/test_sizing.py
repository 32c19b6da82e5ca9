from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.assistant import chosen_model, open_catalog
from coding_assistant.assistant.sizing import memory_plan
from coding_assistant.inference.memory import MOST_AUTOMATIC_SLOTS
from coding_assistant.settings import Settings
from engine_bench.synthetic import SHAPES, small, write_model
from support.tiny_model import PHI3_CONTROLS, TinyModel

PHI3_FILE = "Q4_K_M-00001-of-00001.gguf"


@pytest.fixture(name="home", scope="module")
def home_with_a_small_phi3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phi-3's architecture under the catalog's local file name: two layers, both sets of rope factors."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    vocabulary = TinyModel("Phi3", controls=PHI3_CONTROLS).write(home)
    write_model(home / "models" / PHI3_FILE, small(SHAPES["phi3-mini"]), vocabulary=vocabulary)
    return home


def settings(home: Path, **values: object) -> Settings:
    return Settings.model_validate({"home": home, "model_name": "phi3-mini", "model_stores": (), **values})


def test_the_entry_and_one_slot_are_what_a_model_runs_with(home: Path) -> None:
    spec = chosen_model(open_catalog(settings(home)), settings(home))

    assert (spec.context_length, spec.slots, spec.shrinks, spec.notice) == (4_096, 1, False, "")


def test_a_context_beyond_the_short_one_is_told_of_with_the_profile_for_it(home: Path) -> None:
    asked = settings(home, context_tokens=8_192)
    spec = chosen_model(open_catalog(asked), asked)

    assert spec.context_length == 8_192
    assert "4,096" in spec.notice
    assert "phi3-mini-long" in spec.notice


@pytest.mark.parametrize(
    "values", [{"context_tokens": 4_096}, {"context_tokens": "auto"}, {"model_name": "phi3-mini-long"}]
)
def test_whoever_keeps_to_a_profile_is_told_nothing(home: Path, values: dict[str, object]) -> None:
    asked = settings(home, **values)

    assert chosen_model(open_catalog(asked), asked).notice == ""


def test_automatic_slots_are_as_many_as_fit(home: Path) -> None:
    asked = settings(home, slots="auto", context_tokens=512)

    assert chosen_model(open_catalog(asked), asked).slots == MOST_AUTOMATIC_SLOTS


def test_without_a_file_there_is_one_automatic_slot_and_no_plan(tmp_path: Path) -> None:
    asked = settings(tmp_path, slots="auto")
    catalog = open_catalog(asked)
    spec = chosen_model(catalog, asked)

    assert spec.slots == 1
    assert memory_plan(spec, catalog, asked) is None


def test_a_plan_is_made_for_the_sizes_that_are_set(home: Path) -> None:
    asked = settings(home, slots=3, context_tokens=2_048)
    catalog = open_catalog(asked)
    spec = chosen_model(catalog, asked)
    plan = memory_plan(spec, catalog, asked)

    assert plan is not None
    assert (plan.slots, plan.context_tokens) == (3, 2_048)
    assert memory_plan(replace(spec, address="http://127.0.0.1:1"), catalog, asked) is None
