"""``kill -9`` at random moments: of the service, and of the engine below it."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import httpx2
import psutil
from anyio import to_thread

from conversations_bench.client import QuestionFailed, connect
from conversations_bench.service import Service
from endurance_bench.asker import Asker, takes_keys
from endurance_bench.outcome import Outcome

ASKERS = 3
ROUNDS_OF_A_CONVERSATION = 10
"""Then new ones begin, for a history of many turns would make each look at it take longer."""

ERROR_SECONDS = 2.0
"""So soon after the engine's death must whoever asked be told."""

ANSWER_SECONDS = 120.0
"""A question that has not ended by then hangs."""

DEATHS_FORGIVEN = 2
"""A third death within five minutes, and the product does not start the engine again: so the service is
restarted in order, as its user would do, after every second."""


@dataclass(slots=True)
class _Counts:
    acknowledged: int = 0
    interrupted: int = 0
    retried: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


async def kill_service(
    service: Service, *, rounds: int, longest_seconds: float, chance: random.Random
) -> Outcome:
    """Kill the service while several conversations ask, start it again, and look at all that they were told.

    A question of which nobody knows whether it arrived is sent once more under its key, where keys are known.
    """
    outcome, counts = Outcome(), _Counts()
    everybody: list[Asker] = []
    askers: list[Asker] = []
    for number in range(rounds):
        if number % ROUNDS_OF_A_CONVERSATION == 0:
            askers = [Asker(f"asker-{len(everybody) + each}") for each in range(ASKERS)]
            everybody += askers
            async with connect(service.url) as http:
                for asker in askers:
                    outcome.violations += await asker.next_turn_fails(http)
        async with anyio.create_task_group() as tasks:
            for asker in askers:
                tasks.start_soon(_ask_until_killed, asker, service.url, counts)
            await anyio.sleep(chance.uniform(0.0, longest_seconds))
            service.kill()
        await to_thread.run_sync(service.start)
        async with connect(service.url) as http:
            outcome.violations += await _after_restart(http, askers, counts)
        if (number + 1) % ROUNDS_OF_A_CONVERSATION == 0:
            print(f"  {number + 1} rounds, {len(outcome.violations)} violations", flush=True)
    async with connect(service.url) as http:
        for asker in everybody:
            outcome.violations += await asker.violations(http)
            counts.acknowledged += len(asker.ledger.asked)
    outcome.violations += counts.violations
    outcome.figures |= {
        "rounds": str(rounds),
        "questions acknowledged": str(counts.acknowledged),
        "killed in the middle": str(counts.interrupted),
        "sent again": f"{counts.retried}, of which refused: {counts.refused or 'none'}",
    }
    return outcome


async def _ask_until_killed(asker: Asker, url: str, counts: _Counts) -> None:
    async with connect(url) as http:
        while True:
            try:
                await asker.ask(http)
            except httpx2.TransportError:
                counts.interrupted += 1
                return
            except QuestionFailed as refusal:
                counts.violations.append(f"{asker.name}: {refusal}")
                return
            if asker.ledger.sent[-1] not in asker.ledger.answered:  # cut off between two events
                counts.interrupted += 1
                return


async def _after_restart(http: httpx2.AsyncClient, askers: Sequence[Asker], counts: _Counts) -> list[str]:
    violations = []
    with_keys = await takes_keys(http)
    for asker in askers:
        for question in asker.ledger.unacknowledged()[-1:] if with_keys else ():
            counts.retried += 1
            try:
                await asker.send(http, question)
            except QuestionFailed as refusal:
                counts.refused[refusal.code] = counts.refused.get(refusal.code, 0) + 1
        violations += await asker.violations(http)
        violations += await asker.next_turn_fails(http)
        violations += await asker.violations(http)
    return violations


@dataclass(slots=True)
class _Blow:
    """A kill of the engine: what it was doing, how the question ended, and how long after."""

    doing: str = "loading"
    killed_at: float | None = None
    end: str = ""
    told_after_seconds: float | None = None

    def hear(self, event: str) -> None:
        """Note how far the question has come, unless the engine is dead already."""
        if self.killed_at is None and event in {"reading", "text"}:
            self.doing = "reading" if event == "reading" else "writing"


async def kill_engine(
    service: Service, *, rounds: int, longest_seconds: float, chance: random.Random
) -> Outcome:
    """Kill the engine while a question is at work; it must end, be kept, and the next turn must work.

    In every second round the service is a new one, so that the engine is loaded for the question. The blow
    comes at a moment between the engine's start, or the first word read, or the first written, and
    ``longest_seconds`` later.
    """
    outcome, asker = Outcome(), Asker("asker", {"max_tokens": 32})
    blows: list[_Blow] = []
    recoveries: list[float] = []
    for number in range(rounds):
        if number % DEATHS_FORGIVEN == 0:
            service.stop()
            await to_thread.run_sync(service.start)
        awaited = "" if number % DEATHS_FORGIVEN == 0 else ("reading", "text")[number // DEATHS_FORGIVEN % 2]
        async with connect(service.url) as http:
            with anyio.move_on_after(ANSWER_SECONDS) as patience:
                blow = await _struck(http, asker, service, awaited, chance.uniform(0.0, longest_seconds))
                blows.append(blow)
                outcome.violations += await _down(http)
                outcome.violations += await asker.violations(http)
                began = anyio.current_time()
                outcome.violations += await asker.next_turn_fails(http)
                recoveries.append(anyio.current_time() - began)
                outcome.violations += await asker.violations(http)
            if patience.cancelled_caught:
                outcome.violations.append(f"round {number + 1} was not over in {ANSWER_SECONDS:.0f} s")
        if (number + 1) % ROUNDS_OF_A_CONVERSATION == 0:
            print(f"  {number + 1} rounds, {len(outcome.violations)} violations", flush=True)
    _add_blows(outcome, blows)
    outcome.add_times("whole next turn", recoveries)
    return outcome


async def _down(http: httpx2.AsyncClient) -> list[str]:
    try:
        (await http.get("/healthz")).raise_for_status()
    except httpx2.HTTPError as error:
        return [f"the service is down: {error!r}"]
    return []


def _add_blows(outcome: Outcome, blows: Sequence[_Blow]) -> None:
    outcome.figures["rounds"] = str(len(blows))
    for doing in ("loading", "reading", "writing"):
        ends = Counter(blow.end for blow in blows if blow.doing == doing)
        counted = ", ".join(f"{end} {count}" for end, count in ends.most_common())
        outcome.figures[f"killed while {doing}"] = f"{ends.total()}; the question ended as {counted or '-'}"
    told = [blow.told_after_seconds for blow in blows if blow.told_after_seconds is not None]
    outcome.add_times("from the kill to the error event", told, bar=f"{ERROR_SECONDS:.0f} s")
    late = [seconds for seconds in told if seconds > ERROR_SECONDS]
    outcome.figures["later than the bar"] = str(len(late))


async def _struck(
    http: httpx2.AsyncClient, asker: Asker, service: Service, awaited: str, after_seconds: float
) -> _Blow:
    """Ask, kill the engine so long after an event, or after its own start, and return how it went."""
    blow = _Blow()
    begun = anyio.Event()

    def hear(event: str) -> None:
        blow.hear(event)
        if event in {awaited, "finished"}:
            begun.set()

    async with anyio.create_task_group() as tasks:
        if not awaited:
            begun.set()
        tasks.start_soon(_strike, service, begun, after_seconds, blow)
        try:
            exchange = await asker.ask(http, heard=hear)
        except QuestionFailed as failure:
            begun.set()
            blow.end = failure.code
            if blow.killed_at is not None:
                blow.told_after_seconds = anyio.current_time() - blow.killed_at
        else:
            blow.end = exchange.events[-1].name
    return blow


async def _strike(service: Service, begun: anyio.Event, after_seconds: float, blow: _Blow) -> None:
    await begun.wait()
    while (pid := service.engine_pid()) is None:  # noqa: ASYNC110  -- a process's children send no event
        await anyio.sleep(0.02)
    await anyio.sleep(after_seconds)
    psutil.Process(pid).kill()
    blow.killed_at = anyio.current_time()
