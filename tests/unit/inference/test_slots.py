from collections.abc import Iterable
from contextlib import AsyncExitStack

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


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def lease_in_turn(table: SlotTable, conversations: Iterable[str]) -> list[int]:
    slots = []
    for conversation in conversations:
        async with table.lease(conversation) as slot:
            slots.append(slot)
    return slots


async def test_a_conversation_gets_its_old_slot_back() -> None:
    table = SlotTable(3, patience_seconds=FOR_EVER)

    assert await lease_in_turn(table, "abcbac") == [0, 1, 2, 1, 0, 2]


async def test_a_new_conversation_takes_the_slot_that_was_unused_for_the_longest() -> None:
    table = SlotTable(2, patience_seconds=FOR_EVER)

    assert await lease_in_turn(table, "aba" + "c" + "ab") == [0, 1, 0, 1, 0, 1]


async def test_a_taken_old_slot_is_not_waited_for_while_another_is_free() -> None:
    table = SlotTable(2, patience_seconds=FOR_EVER)
    async with table.lease("a") as first, table.lease("a") as second:
        assert {first, second} == {0, 1}


async def test_those_who_wait_are_served_in_their_order() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER)
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
    table = SlotTable(1, patience_seconds=FOR_EVER)
    with pytest.raises(ZeroDivisionError):
        async with table.lease("a"):
            raise ZeroDivisionError

    assert await lease_in_turn(table, "b") == [0]


async def test_patience_ends_and_says_when_to_come_again() -> None:
    table = SlotTable(1, patience_seconds=0)
    async with table.lease("a"):
        with pytest.raises(EngineBusy) as refused:
            async with table.lease("b"):
                pytest.fail("there was no slot")

    assert refused.value.retry_after_seconds > 0
    assert await lease_in_turn(table, "b") == [0]


async def test_a_free_slot_needs_no_patience() -> None:
    assert await lease_in_turn(SlotTable(1, patience_seconds=0), "ab") == [0, 0]


async def test_somebody_who_gives_up_waiting_is_passed_over() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER)

    async with table.lease("a"), anyio.create_task_group() as tasks:
        tasks.start_soon(lease_in_turn, table, "b")
        await wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert await lease_in_turn(table, "c") == [0]


async def test_a_slot_given_in_the_moment_of_giving_up_is_not_lost() -> None:
    table = SlotTable(1, patience_seconds=FOR_EVER)

    async with anyio.create_task_group() as tasks:
        async with table.lease("a"):
            tasks.start_soon(lease_in_turn, table, "b")
            await wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()  # served by now, and not yet awake

    assert await lease_in_turn(table, "c") == [0]


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=20))
def test_whatever_happens_each_slot_has_one_holder_and_all_come_back(
    count: int, asks: list[tuple[str, bool]]
) -> None:
    async def run() -> None:
        table = SlotTable(count, patience_seconds=FOR_EVER)
        held: set[int] = set()

        async def ask(conversation: str, gives_up: bool) -> None:  # noqa: FBT001 -- a task takes positions
            with anyio.CancelScope() as scope:
                if gives_up:
                    scope.cancel()
                async with table.lease(conversation) as slot:
                    assert slot not in held
                    held.add(slot)
                    try:
                        await checkpoint()
                    finally:
                        held.discard(slot)

        async with anyio.create_task_group() as tasks:
            for conversation, gives_up in asks:
                tasks.start_soon(ask, conversation, gives_up)

        async with AsyncExitStack() as leases:
            slots = [await leases.enter_async_context(table.lease(str(each))) for each in range(count)]
            assert sorted(slots) == list(range(count))

    anyio.run(run)
