"""The memory plan beside what the engine really keeps, for one model.

    python bench/engine_bench/memory.py MODEL.gguf --context 8192 --slots 1

Loads the model as the product does, reads a prompt that fills most of the context, forgets which pages were
used, and has the model read one batch more and write a few words.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from coding_assistant.domain import GenerationRequest, MemoryPlan, ModelSpec
from coding_assistant.inference.gguf import GgufHeader, read_header
from coding_assistant.inference.llama import BATCH_TOKENS, EngineOptions, LlamaEngine
from coding_assistant.inference.memory import plan_memory
from engine_bench.resident import Resident, forget_use, resident

FILLED: Final = 0.9
WRITTEN_TOKENS: Final = 8
DIFFERENT_TOKENS: Final = 1_500  # of a prompt of some thousand: each costs a page of the token table
SEED: Final = 1


def main() -> None:
    """Measure the model that the command line names and print a line of JSON."""
    parser = argparse.ArgumentParser(description="The memory plan beside what the engine keeps.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--context", type=int, default=8_192, metavar="TOKENS")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--batch", type=int, default=BATCH_TOKENS, metavar="TOKENS")
    parser.add_argument("--filled", type=float, default=FILLED, metavar="SHARE")
    parser.add_argument("--prompt-format", default="auto", metavar="NAME")
    given = parser.parse_args()
    options = EngineOptions(slots=given.slots, context_tokens=given.context, batch_tokens=given.batch)
    header = read_header(given.file)
    plan = plan_memory(header, context_tokens=given.context, slots=given.slots, batch_tokens=given.batch)
    began = time.monotonic()
    spec = _spec(given.file, options, prompt_format=given.prompt_format)
    engine = LlamaEngine(spec, given.file, options)
    seen = asyncio.run(measure(engine, _prompt(header, options, filled=given.filled), options))
    report(given.file, plan, seen, seconds=time.monotonic() - began)


async def measure(engine: LlamaEngine, tokens: tuple[int, ...], options: EngineOptions) -> Resident:
    """Return what the engine keeps resident once it has read the tokens; it is closed then."""
    try:
        await engine.load()
        process_id = engine.process_id
        if process_id is None:
            raise RuntimeError("the engine has no process")
        async with aclosing(engine.read(tokens, slot=0)) as reading:
            async for _ in reading:
                pass
        forget_use(process_id)
        request = GenerationRequest(
            tokens=tokens + tokens[: options.batch_tokens],
            slot=0,
            max_tokens=WRITTEN_TOKENS,
            temperature=0.0,
            top_p=1.0,
        )
        async with aclosing(engine.generate(request)) as events:
            async for _ in events:
                pass
        return resident(process_id)
    finally:
        await engine.close()


def report(file: Path, plan: MemoryPlan, seen: Resident, *, seconds: float) -> None:
    """Print plan and measurement as JSON, in bytes."""
    line = {
        "file": file.name,
        "plan": asdict(plan) | {"needed": plan.needed},
        "seen": asdict(seen) | {"needed": seen.needed, "listed": seen.listed},
        "plan_by_seen": round(plan.needed / seen.needed, 4),
        "seconds": round(seconds),
    }
    print(json.dumps(line))


def _prompt(header: GgufHeader, options: EngineOptions, *, filled: float) -> tuple[int, ...]:
    draw = random.Random(SEED)  # noqa: S311  -- a prompt, no secret
    first = header.vocabulary_size // 8  # behind the control tokens and single bytes that some begin with
    known = [draw.randrange(first, header.vocabulary_size * 7 // 8) for _ in range(DIFFERENT_TOKENS)]
    room = options.context_tokens - options.batch_tokens - 2 * WRITTEN_TOKENS
    return tuple(draw.choice(known) for _ in range(min(room, int(filled * options.context_tokens))))


def _spec(file: Path, options: EngineOptions, *, prompt_format: str) -> ModelSpec:
    return ModelSpec(
        name=file.stem,
        filename=file.name,
        context_length=options.context_tokens,
        max_tokens=WRITTEN_TOKENS,
        temperature=0.0,
        top_p=1.0,
        n_threads=None,
        n_gpu_layers=0,
        system_prompt="",
        stop_tokens=(),
        prompt_format=prompt_format,
    )


if __name__ == "__main__":
    main()
