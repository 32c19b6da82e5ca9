"""The memory plan against the real engine on real weights."""

import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from coding_assistant.domain import GenerationRequest
from coding_assistant.inference import memory
from coding_assistant.inference.llama import EngineOptions, LlamaEngine
from engine_bench.resident import forget_use, resident
from support.llama_engines import llama_engine
from support.model_specs import PLAIN_SPEC

CONTEXT_TOKENS = 1_024
SLOTS = 2

pytestmark = [pytest.mark.model, pytest.mark.anyio]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own account of a process's pages")
async def test_the_plan_is_what_stays_resident(smollm2: Path) -> None:
    engine = llama_engine(smollm2, slots=SLOTS, context_tokens=CONTEXT_TOKENS)
    try:
        info = await engine.load()
        words = await engine.tokenize("def add(first, second):\n    return first + second\n")
        prompt = (words * CONTEXT_TOKENS)[: CONTEXT_TOKENS // 2]
        async with aclosing(engine.read(prompt, slot=0)) as reading:
            async for _ in reading:
                pass
        assert engine.process_id is not None
        forget_use(engine.process_id)
        request = GenerationRequest(
            tokens=prompt + words * 4, slot=0, max_tokens=4, temperature=0.0, top_p=1.0
        )
        async with aclosing(engine.generate(request)) as events:
            async for _ in events:
                pass
        seen = resident(engine.process_id)
    finally:
        await engine.close()

    assert info.memory is not None
    # The tolerance is for what a process of 0.2 GB has beside the model: 5 % of a large one are 0.3 GB.
    assert info.memory.needed == pytest.approx(seen.needed, rel=0.12)


async def test_an_automatic_context_is_as_long_as_the_memory_allows(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 300_000_000)
    options = EngineOptions(slots=1, context_tokens=8_192, shrinks=True)
    engine = LlamaEngine(PLAIN_SPEC, smollm2, options)
    try:
        info = await engine.load()
    finally:
        await engine.close()

    assert info.memory is not None
    assert info.context_tokens == info.memory.context_tokens < 8_192
    assert "8,192 were asked for" in info.memory.reduction
    assert info.memory.needed <= 0.9 * 300_000_000


async def test_the_plan_counts_the_room_for_what_many_slots_guess(smollm2: Path) -> None:
    planned: list[int] = []
    for speculation in ("off", "ngram"):
        engine = llama_engine(smollm2, slots=20, context_tokens=256, speculation=speculation)
        try:
            info = await engine.load()
        finally:
            await engine.close()
        assert info.memory is not None
        planned.append(info.memory.compute)

    assert planned[1] > planned[0]
