"""Work that nobody waits for gives way to questions, and a chore that fails does not stop the others."""

import anyio
import pytest

from coding_assistant.chat.idle import Attention, IdleWork
from coding_assistant.errors import EngineDied

pytestmark = pytest.mark.anyio


async def test_a_question_stops_what_nobody_waits_for() -> None:
    attention = Attention()
    begun = anyio.Event()
    outcomes: list[bool | None] = []

    async def read_for_ever() -> bool:
        begun.set()
        await anyio.sleep_forever()
        return True

    async def in_background() -> None:
        outcomes.append(await attention.unless_asked(read_for_ever))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_background)
        await begun.wait()
        with attention.question():
            assert attention.questions == 1
    assert outcomes == [None]


async def test_nothing_is_begun_while_somebody_waits() -> None:
    attention = Attention()

    async def never() -> bool:
        raise AssertionError("begun beside a question")

    with attention.question():
        assert await attention.unless_asked(never) is None


async def test_quiet_comes_only_after_the_last_of_several_questions() -> None:
    attention = Attention()
    order: list[str] = []

    async def listen() -> None:
        await attention.quiet(0.0)
        order.append("quiet")

    async with anyio.create_task_group() as tasks:
        with attention.question():
            tasks.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            with attention.question():
                await anyio.wait_all_tasks_blocked()
            order.append("one is left")
            await anyio.wait_all_tasks_blocked()
        order.append("none is left")
    assert order == ["one is left", "none is left", "quiet"]


async def test_the_first_chore_that_there_is_comes_first() -> None:
    done: list[str] = []

    async def nothing_to_save() -> bool:
        done.append("save")
        return False

    async def summarise() -> bool:
        done.append("summarise")
        return True

    async def prime() -> bool:
        done.append("prime")
        return True

    idle = IdleWork(Attention(), [nothing_to_save, summarise, prime])
    assert await idle.do_next()
    assert done == ["save", "summarise"]


@pytest.mark.parametrize("failure", [EngineDied("It died."), ValueError("a fault of ours")])
async def test_a_chore_that_fails_leaves_the_others_their_turn(failure: Exception) -> None:
    done: list[str] = []

    async def fails() -> bool:
        raise failure

    async def works() -> bool:
        done.append("works")
        return False

    assert not await IdleWork(Attention(), [fails, works]).do_next()
    assert done == ["works"]


async def test_chores_are_gone_through_until_there_is_none_and_again_after_a_question() -> None:
    attention = Attention()
    left = ["first", "second"]
    done: list[str] = []

    async def next_one() -> bool:
        if not left:
            return False
        done.append(left.pop(0))
        return True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(IdleWork(attention, [next_one], quiet_seconds=0.0).run)
        await anyio.wait_all_tasks_blocked()
        assert done == ["first", "second"]
        with attention.question():
            left.append("third")
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert done == ["first", "second", "third"]
