from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.errors import EngineFailed
from coding_assistant.inference.engine_speeds import measure
from coding_assistant.inference.llama import EngineOptions, LlamaEngine
from support.model_specs import PLAIN_SPEC
from support.scripted_engine import Script, ScriptedEngine

pytestmark = pytest.mark.anyio


@pytest.mark.model
async def test_a_real_engine_reads_and_writes_at_some_speed(smollm2: Path) -> None:
    spec = replace(PLAIN_SPEC, prompt_format="chatml")
    engine = LlamaEngine(spec, smollm2, EngineOptions(slots=1, context_tokens=1_024))
    try:
        speed = await measure(engine)
    finally:
        await engine.close()

    assert speed.reading > 0
    assert speed.writing > 0


async def test_an_engine_that_writes_nothing_has_no_speed() -> None:
    with pytest.raises(EngineFailed):
        await measure(ScriptedEngine(Script(text="")))
