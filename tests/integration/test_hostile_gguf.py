"""Damaged and malicious model files: an error of ours each, or it works; no death, nothing without bounds.

A small share of what ``bench/hostile_files.py`` does.
"""

import random
import tracemalloc
from pathlib import Path

import anyio
import pytest

from coding_assistant.errors import CodingAssistantError, ModelBroken
from coding_assistant.inference.gguf import read_header
from support.gguf_layout import layout_of
from support.hostile_gguf import TEMPLATES, hostile_files, load_all, read_all, sound_files
from support.llama_engines import llama_engine
from support.tiny_model import TinyModel

READ, LOADED = 300, 8


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return sound_files(tmp_path_factory.mktemp("sound"))


def test_every_damaged_file_is_refused_or_works(tmp_path: Path, sound: list[bytes]) -> None:
    read, passed = read_all(hostile_files(sound, seed=11), READ, tmp_path)
    assert read.faults == []
    assert read.outcomes["model_broken"] > READ / 3
    # Some that only the engine can find fault with, and some that are sound.
    random.Random(11).shuffle(passed)  # noqa: S311  -- the same files each time
    loaded = anyio.run(load_all, passed[:LOADED])
    assert loaded.faults == []
    assert loaded.outcomes.total() == LOADED


def test_a_declared_length_takes_no_memory(tmp_path: Path, sound: list[bytes]) -> None:
    file = tmp_path / "model.gguf"
    lengths = [span for span in layout_of(sound[0]).spans if span.what in {"count", "length"}]
    tracemalloc.start()
    try:
        for span in lengths:
            size = span.end - span.start
            declared = (2 ** (8 * size - 4)).to_bytes(size, "little")
            file.write_bytes(sound[0][: span.start] + declared + sound[0][span.end :])
            with pytest.raises(ModelBroken):
                read_header(file)
        assert tracemalloc.get_traced_memory()[1] < 64 * len(sound[0])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("prompt_format", "outcome"), [("llama2", "loaded"), ("auto", "invalid_model")])
@pytest.mark.parametrize("template", TEMPLATES[:2], ids=["endless", "huge"])
def test_a_template_without_end_is_never_run_by_the_engine(
    tmp_path: Path, template: str, prompt_format: str, outcome: str
) -> None:
    file = TinyModel("Hostile tiny", chat_template=template).write(tmp_path)
    engine = llama_engine(file, prompt_format=prompt_format)

    async def load() -> str:
        try:
            await engine.load()
        except CodingAssistantError as error:
            return error.code
        finally:
            await engine.close()
        return "loaded"

    assert anyio.run(load) == outcome
