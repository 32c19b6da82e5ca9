"""Explicit cancels while a question waits, is read, and is answered: how soon the slot is free.

The server runs in this process, over HTTP as always, so that the engine itself can be asked whether a slot is
at work: what a client is told would not show that the engine goes on unseen. It looks at that between two
batches, so the time holds the rest of a batch, too.
"""

import random
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from pathlib import Path

import anyio
import httpx2
from anyio.abc import TaskStatus

from coding_assistant.assistant import AsyncAssistant, chosen_model, make_llama_engine, open_catalog
from coding_assistant.inference.llama import LlamaEngine
from coding_assistant.settings import Settings
from coding_assistant.web.server import serve
from conversations_bench.client import Event, connect, follow, history
from endurance_bench.outcome import Outcome

LOOK_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.3
"""After the phase has begun, at most so long before the cancel, by chance."""

MOST_SECONDS = 60.0
MESSAGES_OF_A_TURN = 2


class Phase(StrEnum):
    """Where a question is when it is cancelled."""

    QUEUED = "queued"
    READING = "reading"
    WRITING = "writing"


class Cancelling:
    """Cancels questions to one server with one slot."""

    def __init__(self, http: httpx2.AsyncClient, engine: LlamaEngine, chance: random.Random) -> None:
        self._http = http
        self._engine = engine
        self._chance = chance
        self.seconds: dict[Phase, list[float]] = {phase: [] for phase in Phase}
        self.too_late = 0
        self.violations: list[str] = []

    async def attempt(self, phase: Phase, number: int) -> None:
        """Cancel one question in its phase and note how long the slot was still held."""
        question = f"Explain every function of this project in detail ({phase} {number})."
        async with anyio.create_task_group() as tasks:
            if phase is Phase.QUEUED:
                holder = await tasks.start(self._hold_slot, f"Write a long text ({number}).")
            async with aclosing(follow(self._http, {"query": question, "max_tokens": 512})) as events:
                async for event in events:
                    if event.name == "started":
                        generation, conversation = _ids(event)
                    if _has_begun(event, phase):
                        await anyio.sleep(self._chance.uniform(0.0, LONGEST_PAUSE_SECONDS))
                        began = time.perf_counter()
                        await self._cancel(generation)
                        if phase is not Phase.QUEUED:
                            await self._until_idle()
                        await self._note(phase, generation, conversation, time.perf_counter() - began)
                        break
            if phase is Phase.QUEUED:
                await self._cancel(holder)
                await self._until_idle()

    async def _hold_slot(self, question: str, *, task_status: TaskStatus[str]) -> None:
        """Keep the slot busy; the task's value is the generation, once it is read or written."""
        generation = ""
        async for event in follow(self._http, {"query": question, "max_tokens": 1024}):
            if event.name == "started":
                generation, _ = _ids(event)
            if event.name == "reading":
                task_status.started(generation)
                task_status = anyio.TASK_STATUS_IGNORED

    async def _cancel(self, generation: str) -> None:
        (await self._http.delete(f"/chat/generation/{generation}")).raise_for_status()

    async def _until_idle(self) -> None:
        with anyio.fail_after(MOST_SECONDS):
            while await self._engine.busy_slots():  # noqa: ASYNC110  -- another process tells when asked
                await anyio.sleep(LOOK_SECONDS)

    async def _note(self, phase: Phase, generation: str, conversation: str, seconds: float) -> None:
        state = (await self._http.get(f"/chat/generation/{generation}")).raise_for_status().json()["state"]
        if state == "finished":
            self.too_late += 1
            return
        self.seconds[phase].append(seconds)
        messages = await history(self._http, conversation)
        kept = messages[-1]
        if state != "cancelled" or kept["finish_reason"] != "cancelled":
            self.violations.append(f"{phase}: it is {state}, kept as {kept['finish_reason']}")
        if len(messages) != MESSAGES_OF_A_TURN or (phase is Phase.WRITING and not kept["content"]):
            self.violations.append(f"{phase}: the partial answer is not kept")


async def cancel(settings: Settings, project: Path, *, tries: int, chance: random.Random) -> Outcome:
    """Cancel so many questions, the phases in turn."""
    outcome = Outcome()
    catalog = open_catalog(settings)
    engine = make_llama_engine(catalog, chosen_model(catalog, settings), settings)
    async with _served(settings, engine, project) as url, connect(url) as http:
        async with aclosing(follow(http, {"query": "Which files are there?", "max_tokens": 1})) as events:
            async for _ in events:
                pass
        cancelling = Cancelling(http, engine, chance)
        for number in range(tries):
            await cancelling.attempt(list(Phase)[number % len(Phase)], number)
    for phase, seconds in cancelling.seconds.items():
        outcome.add_times(f"{phase}: slot free after", seconds)
    everything = [each for seconds in cancelling.seconds.values() for each in seconds]
    outcome.add_times("all: slot free after", everything, bar="p99 1 s")
    outcome.figures["finished before the cancel came"] = str(cancelling.too_late)
    outcome.violations = cancelling.violations
    return outcome


@asynccontextmanager
async def _served(settings: Settings, engine: LlamaEngine, project: Path) -> AsyncGenerator[str, None]:
    async with AsyncAssistant.open(settings, purpose="serve", make_engine=lambda *_: engine) as assistant:
        await assistant.add_project(str(project))
        async with anyio.create_task_group() as tasks:
            url: str = await tasks.start(_serve, assistant)
            try:
                yield url
            finally:
                signal.raise_signal(signal.SIGTERM)


async def _serve(assistant: AsyncAssistant, *, task_status: TaskStatus[str]) -> None:
    await serve(assistant, host="127.0.0.1", port=0, announce=task_status.started)


def _ids(started: Event) -> tuple[str, str]:
    return str(started.data["generation_id"]), str(started.data["conversation_id"])


def _has_begun(event: Event, phase: Phase) -> bool:
    """Return whether an event shows that a question is in a phase; who is queued finds the slot taken."""
    match phase, event:
        case Phase.QUEUED, Event(name="sources"):
            return True
        case Phase.READING, Event(name="reading", data={"done": int(done), "cached": int(cached)}):
            return done > cached
        case Phase.WRITING, Event(name="text"):
            return True
    return False
