from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.errors import EngineBusy
from coding_assistant.inference.slots import SlotTable

pytestmark = pytest.mark.anyio

FOR_EVER = 1_000.0
QUEUE = 16


async def lease_in_turn(table: SlotTable, conversations: Iterable[str]) -> list[int]:
    slots = []
    for conversation in conversations:
        async with table.lease(conversation) as slot:
            slots.append(slot)
    return slots


async def test_a_conversation_gets_its_old_slot_back() -> None:
    table = SlotTable(3, patience_seconds=FOR_EVER, longest_queue=QUEUE)

    assert await lease_in_turn(table, "abcbac") == [0, 1, 2, 1, 0, 2]


async def test_a_new_conversation_takes_the_slot_that_was_unused_for_the_longest() -> None:
    table = SlotTable(2, patience_seconds=FOR_EVER, longest_queue=QUEUE)

    assert await lease_in_turn(table, "aba" + "c" + "ab") == [0, 1, 0, 1, 0, 1]


async def test_an_empty_slot_is_taken_before_one_that_holds_something() -> None:
    table = SlotTable(2, patience_seconds=FOR_EVER, longest_queue=QUEUE)
    await lease_in_turn(table, "ab")
    table.assign(1, None)

    assert await lease_in_turn(table, "c") == [1]


async def test_a_slot_that_was_taken_without_use_is_still_the_formers() -> None:
    table = SlotTable(2, patience_seconds=FOR_EVER, longest_queue=QUEUE)
    await lease_in_turn(table, "abc")
    table.assign(0, "a")

    assert await lease_in_turn(table, "a") == [0]


async def test_further_questions_of_an_owner_wait_for_the_first_and_let_others_pass() -> None:
    table = SlotTable(2, patience_seconds=FOR_EVER, longest_queue=QUEUE)
    served: list[tuple[str, int]] = []

    async def ask(name: str) -> None:
        async with table.lease(name[0]) as slot:
            served.append((name, slot))

    async with anyio.create_task_group() as tasks, table.lease("a"):
        for name in ("a, second", "a, third", "b"):
            tasks.start_soon(ask, name)
            await wait_all_tasks_blocked()
        assert served == [("b", 1)]

    assert served == [("b", 1), ("a, second", 0), ("a, third", 0)]


async def test_those_who_wait_hear_how_many_come_first_and_whenever_that_changes() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER, longest_queue=QUEUE)
    heard: dict[str, list[int]] = {owner: [] for owner in "abcd"}

    async def ask(owner: str) -> None:
        async with table.lease(owner, on_wait=heard[owner].append):
            await wait_all_tasks_blocked()

    async with anyio.create_task_group() as tasks, table.lease("a", on_wait=heard["a"].append):
        for owner in "bcd":
            tasks.start_soon(ask, owner)
            await wait_all_tasks_blocked()
        assert heard == {"a": [], "b": [0], "c": [1], "d": [2]}

    assert heard == {"a": [], "b": [0], "c": [1, 0], "d": [2, 1, 0]}


async def test_those_behind_hear_of_one_who_gives_up() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER, longest_queue=QUEUE)
    heard: list[int] = []

    async def ask() -> None:
        async with table.lease("c", on_wait=heard.append):
            pass

    async with anyio.create_task_group() as patient, table.lease("a"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lease_in_turn, table, "b")
            await wait_all_tasks_blocked()
            patient.start_soon(ask)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert heard == [1, 0]


@pytest.mark.parametrize(("slots", "queue"), [(1, 0), (1, 1), (2, 3)])
def test_beyond_the_queue_one_is_refused(slots: int, queue: int) -> None:
    table = SlotTable(slots, patience_seconds=FOR_EVER, longest_queue=queue)
    for begun in range(slots + queue):
        table.require_room(begun)
    with pytest.raises(EngineBusy, match=f"{queue} more wait"):
        table.require_room(slots + queue)


async def test_when_to_come_again_follows_from_how_long_leases_took() -> None:
    now = 0.0
    table = SlotTable(1, patience_seconds=FOR_EVER, longest_queue=1, clock=lambda: now)
    for seconds in (20.0, 40.0):
        async with table.lease("a"):
            now += seconds

    with pytest.raises(EngineBusy) as refused:
        table.require_room(2)

    assert refused.value.retry_after_seconds == 60  # the lease that runs and b's, 30 seconds each


async def test_those_who_wait_are_served_in_their_order() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER, longest_queue=QUEUE)
    served: list[str] = []

    async def ask(conversation: str) -> None:
        async with table.lease(conversation):
            served.append(conversation)
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        async with table.lease("first"):
            for conversation in "abc":
                tasks.start_soon(ask, conversation)
                await wait_all_tasks_blocked()
        tasks.start_soon(ask, "late")

    assert served == ["a", "b", "c", "late"]


async def test_an_error_inside_gives_the_slot_back() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER, longest_queue=QUEUE)
    with pytest.raises(ZeroDivisionError):
        async with table.lease("a"):
            raise ZeroDivisionError

    assert await lease_in_turn(table, "b") == [0]


async def test_patience_ends_and_says_when_to_come_again() -> None:
    table = SlotTable(1, patience_seconds=0, longest_queue=QUEUE)
    async with table.lease("a"):
        with pytest.raises(EngineBusy) as refused:
            async with table.lease("b"):
                pytest.fail("there was no slot")

    assert refused.value.retry_after_seconds > 0
    assert await lease_in_turn(table, "b") == [0]


async def test_a_free_slot_needs_no_patience() -> None:
    assert await lease_in_turn(SlotTable(1, patience_seconds=0, longest_queue=QUEUE), "ab") == [0, 0]


async def test_somebody_who_gives_up_waiting_is_passed_over() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER, longest_queue=QUEUE)

    async with table.lease("a"), anyio.create_task_group() as tasks:
        tasks.start_soon(lease_in_turn, table, "b")
        await wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert await lease_in_turn(table, "c") == [0]


@pytest.mark.parametrize("gives_up", ["a moment before it comes", "a moment after"])
async def test_a_slot_given_in_the_moment_of_giving_up_is_not_lost(gives_up: str) -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER, longest_queue=QUEUE)

    async with anyio.create_task_group() as patient, anyio.create_task_group() as tasks:
        async with table.lease("a"):
            tasks.start_soon(lease_in_turn, table, "b")
            await wait_all_tasks_blocked()
            patient.start_soon(lease_in_turn, table, "c")
            await wait_all_tasks_blocked()
            if gives_up == "a moment before it comes":
                tasks.cancel_scope.cancel()
        tasks.cancel_scope.cancel()  # served by now, and not yet awake

    assert await lease_in_turn(table, "b") == [0]


class Crowd:
    """Askers who come, leave satisfied and give up, while the table is watched for what must never be."""

    def __init__(self, table: SlotTable, count: int) -> None:
        self._table = table
        self._count = count
        self._ends: list[anyio.Event] = []
        self._scopes: list[anyio.CancelScope] = []
        self._waiting: dict[int, str] = {}
        self._held: dict[int, str] = {}

    async def ask(self, owner: str) -> None:
        number = len(self._ends)
        self._ends.append(anyio.Event())
        self._waiting[number] = owner
        with anyio.CancelScope() as scope:
            self._scopes.append(scope)
            async with self._lease(owner, number) as slot:
                assert slot not in self._held
                assert owner not in self._held.values()
                self._held[slot] = owner
                try:
                    await self._ends[number].wait()
                finally:
                    del self._held[slot]

    def end(self, number: int) -> None:
        if self._ends:
            self._ends[number % len(self._ends)].set()

    def give_up(self, number: int) -> None:
        if self._scopes:
            self._scopes[number % len(self._scopes)].cancel()

    def require_that_nobody_waits_in_vain(self) -> None:
        """Once all is quiet."""
        owners = set(self._waiting.values())
        assert len(self._held) == self._count or owners <= set(self._held.values())
        assert self._table.waiting == len(self._waiting)

    def end_all(self) -> None:
        for end in self._ends:
            end.set()

    @asynccontextmanager
    async def _lease(self, owner: str, number: int) -> AsyncIterator[int]:
        try:
            async with self._table.lease(owner) as slot:
                del self._waiting[number]
                yield slot
        finally:
            self._waiting.pop(number, None)


STEPS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from("abcd"), st.sampled_from(["end", "give up"])),
        st.integers(0, 20),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(st.integers(1, 3), STEPS)
def test_whoever_gives_up_and_whenever_no_slot_is_lost_and_none_lent_twice(
    count: int, steps: list[tuple[str, int, int]]
) -> None:
    async def run() -> None:
        table = SlotTable(count, patience_seconds=FOR_EVER, longest_queue=100)
        crowd = Crowd(table, count)
        async with anyio.create_task_group() as tasks:
            for what, number, moments in steps:
                if what == "end":
                    crowd.end(number)
                elif what == "give up":
                    crowd.give_up(number)
                else:
                    tasks.start_soon(crowd.ask, what)
                for _ in range(moments):  # none: the next step meets the last one half done
                    await checkpoint()
            for _ in range(20):
                await checkpoint()
            crowd.require_that_nobody_waits_in_vain()
            crowd.end_all()

        async with AsyncExitStack() as leases:
            slots = [await leases.enter_async_context(table.lease(str(each))) for each in range(count)]
            assert sorted(slots) == list(range(count))
        assert table.waiting == 0

    anyio.run(run)
