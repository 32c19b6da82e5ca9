"""Many conversations at once, and many turns one after the other."""

import statistics
from collections.abc import Mapping, Sequence

import anyio
import httpx2

from conversations_bench.client import Exchange, QuestionFailed, connect
from conversations_bench.service import Service
from endurance_bench.asker import Asker
from endurance_bench.outcome import Outcome

MEBIBYTE = 2**20
TURNS_OF_A_CONVERSATION = 20
MOST_GROWTH = 1.1
"""Memory counts as flat when the second half of the turns adds no tenth to it."""


async def crowd(service: Service, *, conversations: int, turns: int, limits: Mapping[str, object]) -> Outcome:
    """Hold conversations at the same time; nobody may be refused, and waits should be alike.

    A question waits until the model begins with it. Each conversation's first and last questions do not
    count: the first find the queue empty, and the last find others gone.
    """
    outcome = Outcome()
    askers = [Asker(f"asker-{number}", limits) for number in range(conversations)]
    exchanges: dict[str, list[Exchange]] = {asker.name: [] for asker in askers}
    async with connect(service.url) as http:
        await Asker("warm-up", limits).ask(http)
        async with anyio.create_task_group() as tasks:
            for asker in askers:
                tasks.start_soon(_converse, asker, http, turns, exchanges[asker.name], outcome)
        for asker in askers:
            outcome.violations += await asker.violations(http)
    waits = [[_waited_seconds(each) for each in several[1:-1]] for several in exchanges.values()]
    counted = [wait for several in waits for wait in several]
    outcome.figures["conversations"] = f"{conversations}, of {turns} turns"
    outcome.figures["memory of the service"] = f"{service.resident_bytes() / MEBIBYTE:.0f} MiB"
    outcome.add_times(
        "whole answer", [each.total_seconds for several in exchanges.values() for each in several]
    )
    outcome.add_times("wait for the model", counted)
    if counted:
        means = [statistics.mean(several) for several in waits if several]
        outcome.figures["wait, longest over shortest"] = (
            f"{max(counted) / max(min(counted), 0.001):.1f} of single questions,"
            f" {max(means) / max(min(means), 0.001):.2f} of a conversation's mean (bar: 3)"
        )
    return outcome


async def _converse(
    asker: Asker, http: httpx2.AsyncClient, turns: int, exchanges: list[Exchange], outcome: Outcome
) -> None:
    for _ in range(turns):
        try:
            exchanges.append(await asker.ask(http))
        except (QuestionFailed, httpx2.TransportError) as error:
            outcome.violations.append(f"{asker.name}: {error!r}")
            return


def _waited_seconds(exchange: Exchange) -> float:
    begun = [event for event in exchange.events if event.name in {"reading", "text", "finished"}]
    return begun[0].after_seconds


async def many_turns(service: Service, *, marks: Sequence[int]) -> Outcome:
    """Ask up to the last mark's number of turns; the service's memory is looked at after each mark's."""
    outcome = Outcome()
    resident: dict[int, int] = {}
    asker = Asker("asker-0")
    async with connect(service.url) as http:
        for turn in range(1, marks[-1] + 1):
            outcome.violations += await asker.next_turn_fails(http)
            if turn in marks:
                resident[turn] = service.resident_bytes()
            if turn % TURNS_OF_A_CONVERSATION == 0:
                outcome.violations += await asker.violations(http)
                asker = Asker(f"asker-{turn}")
    for turn, size in resident.items():
        outcome.figures[f"memory after {turn} turns"] = f"{size / MEBIBYTE:.1f} MiB"
    *_, before, last = (resident[mark] for mark in marks)
    outcome.figures["growth between the last two"] = f"{last / before:.3f} (at most {MOST_GROWTH})"
    if last > before * MOST_GROWTH:
        outcome.violations.append("the service's memory grows with the turns")
    return outcome
