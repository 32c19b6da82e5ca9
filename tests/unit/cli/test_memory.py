import io
from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.assistant import chosen_model, open_catalog
from coding_assistant.cli.memory import memory_rows, say_plan
from coding_assistant.cli.screen import Screen
from coding_assistant.domain import Bound, MemoryPlan
from coding_assistant.settings import Settings
from support.small_gguf import write_gguf

PLAN = MemoryPlan(
    context_tokens=8_192,
    slots=2,
    weights=1_000_000_000,
    kv_cache=400_000_000,
    compute=100_000_000,
    available=6_200_000_000,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(name="settings")
def settings_with_a_small_model(tmp_path: Path) -> Settings:
    (tmp_path / "models").mkdir()
    write_gguf(tmp_path / "models" / "small.gguf")
    return Settings(home=tmp_path, model_name="small.gguf", model_stores=())


def said(settings: Settings, stream: io.StringIO) -> str:
    catalog = open_catalog(settings)
    say_plan(Screen(stream), catalog, chosen_model(catalog, settings), settings)
    return stream.getvalue()


def test_a_person_is_told_what_a_model_is_about_to_take(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    line = said(settings, Terminal())

    assert "small: " in line
    assert "weights" in line
    assert "(2,048 tokens)" in line
    assert "available" in line


def test_a_file_is_told_nothing(settings: Settings) -> None:
    assert said(settings, io.StringIO()) == ""


def test_the_rows_say_what_is_needed_whether_it_fits_and_what_lies_on_disk(tmp_path: Path) -> None:
    rows = dict(memory_rows(PLAN, Settings(home=tmp_path)))

    parts = "1.0 GB weights, 400 MB context (2 slots of 8,192 tokens), 100 MB computing"
    assert rows["memory"] == f"1.5 GB: {parts}"
    assert rows[""] == "fits: 6.2 GB are available now"
    assert rows["snapshots"] == "no memory; on disk, up to 200 MB a conversation and 4.1 GB in all"


def test_a_size_that_is_not_sure_and_a_shorter_context_are_said(tmp_path: Path) -> None:
    plan = replace(PLAN, bound=Bound.AT_LEAST, available=0, reduction="16,384 were asked for, no more fit")
    rows = list(memory_rows(plan, Settings(home=tmp_path, snapshot_megabytes=0)))

    assert rows[0][1].startswith("at least 1.5 GB")
    assert rows[1][1].startswith("does not fit")
    assert "16,384 were asked for" in rows[2][1]
    assert len(rows) == 3
