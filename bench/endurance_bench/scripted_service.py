"""The product's server with an engine that says a script, at a pace: for what no model's words bear on.

Run as ``python -m endurance_bench.scripted_service --project DIR --port N``, with the tests' folder on
Python's path for the scripted engine. Settings come from the environment, as for ``coding-assistant serve``.
"""

import argparse
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.domain import EngineEvent, GenerationRequest
from coding_assistant.settings import Settings, load_settings
from coding_assistant.web.server import serve
from conversations_bench.service import PACKAGES, Service, environment_with_path, product_environment
from support.scripted_engine import ScriptedEngine, only

PACE_SECONDS = 0.01
"""Between two words: a hundred tokens a second, so that there is a middle of an answer to strike at."""

ANSWER = " ".join(f"It is in line {number} of [1]." for number in range(1, 7))

TESTS = PACKAGES.parent / "tests"


class PacedEngine(ScriptedEngine):
    """The scripted engine, taking its time, and keeping nothing of what it was asked before."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Pause before each event."""
        # Before and not after: whoever reads an answer closes it at its last event.
        self.requests.clear()
        self.read_ahead.clear()
        async with aclosing(super().generate(request)) as events:
            async for event in events:
                await anyio.sleep(PACE_SECONDS)
                yield event


def scripted_service(*, home: Path, project: Path, settings: dict[str, str]) -> Service:
    """Return the server as a process to start."""
    environment = environment_with_path(product_environment(home), PACKAGES, TESTS)
    return Service(
        [sys.executable, "-m", "endurance_bench.scripted_service", "--project", str(project)],
        environment=environment | {f"CODING_ASSISTANT_{name}": value for name, value in settings.items()},
        ready_path="/healthz",
        log=home.with_suffix(".log"),
    )


async def run(settings: Settings, project: Path) -> None:
    """Serve until SIGTERM."""
    slots = settings.slots if isinstance(settings.slots, int) else 1
    engine = PacedEngine(ANSWER, slots=slots)
    async with AsyncAssistant.open(settings, purpose="serve", make_engine=only(engine)) as assistant:
        await assistant.add_project(str(project))
        await serve(assistant, host=settings.host, port=settings.port)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    anyio.run(run, load_settings(os.environ, {"port": arguments.port}), arguments.project)


if __name__ == "__main__":
    main()
