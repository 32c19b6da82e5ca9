"""What a terminal sends to every process in it is for the program that was started there."""

import os
import signal
from pathlib import Path

import pytest

from support.llama_engines import llama_engine

pytestmark = [pytest.mark.anyio, pytest.mark.model]


async def test_ctrl_c_leaves_the_model_loaded(smollm2: Path) -> None:
    engine = llama_engine(smollm2)
    try:
        run = (await engine.load()).run
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGINT)
        for number in range(100):  # a process that ends takes some of these with it
            await engine.tokenize(f"still here {number}")
        assert (await engine.load()).run == run
    finally:
        await engine.close()
