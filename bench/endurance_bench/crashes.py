"""``kill -9`` at random moments: of the service, and of the engine below it."""

import random
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


async def kill_engine(
    service: Service, *, rounds: int, longest_seconds: float, chance: random.Random
) -> Outcome:
    """Kill the engine while a question is at work; it must end, be kept, and the next turn must work."""
    outcome, asker = Outcome(), Asker("asker", {"max_tokens": 64})
    ends: dict[str, int] = {}
    recoveries: list[float] = []
    async with connect(service.url) as http:
        outcome.violations += await asker.next_turn_fails(http)
    for number in range(rounds):
        if number % DEATHS_FORGIVEN == 0 and number:
            service.stop()
            await to_thread.run_sync(service.start)
        async with connect(service.url) as http:
            with anyio.move_on_after(ANSWER_SECONDS) as patience:
                end = await _struck(http, asker, service, chance.uniform(0.0, longest_seconds))
                ends[end] = ends.get(end, 0) + 1
                outcome.violations += await asker.violations(http)
                began = anyio.current_time()
                outcome.violations += await asker.next_turn_fails(http)
                recoveries.append(anyio.current_time() - began)
                outcome.violations += await asker.violations(http)
            if patience.cancelled_caught:
                outcome.violations.append(f"round {number + 1} was not over in {ANSWER_SECONDS:.0f} s")
    outcome.figures |= {
        "rounds": str(rounds),
        "the question then ended as": ", ".join(f"{end} {count}" for end, count in sorted(ends.items())),
    }
    outcome.add_times("whole next turn", recoveries)
    return outcome


async def _struck(http: httpx2.AsyncClient, asker: Asker, service: Service, after_seconds: float) -> str:
    """Ask, kill the engine meanwhile, and return how the question ended."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_strike, service, after_seconds)
        try:
            exchange = await asker.ask(http)
        except QuestionFailed as failure:
            return failure.code
    return exchange.events[-1].name


async def _strike(service: Service, after_seconds: float) -> None:
    await anyio.sleep(after_seconds)
    while (pid := service.engine_pid()) is None:  # noqa: ASYNC110  -- a process's children send no event
        await anyio.sleep(0.05)
    psutil.Process(pid).kill()
