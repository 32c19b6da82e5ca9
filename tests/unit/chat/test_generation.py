from datetime import UTC, datetime

import anyio
import pytest

from coding_assistant.chat.generation import (
    ENDED_BYTES,
    ENDED_KEPT,
    ENDED_KEPT_ANYWAY,
    Generation,
    open_generations,
)
from coding_assistant.domain import (
    AnswerEvent,
    AnswerFailed,
    AnswerStarted,
    TextDelta,
    Turn,
)
from coding_assistant.errors import ConversationBusy, GenerationNotFound

pytestmark = pytest.mark.anyio


def started(number: int = 1, *, conversation: str = "c") -> AnswerStarted:
    return AnswerStarted("s", Turn(f"t{number}", conversation, number, "why?", datetime.now(UTC)), "model")


END = AnswerFailed("over", "it is over", "")


async def events_after(generation: Generation, after: int) -> list[tuple[int, AnswerEvent]]:
    return [event async for event in generation.follow(after=after)]


async def test_a_reader_that_comes_late_or_again_misses_nothing() -> None:
    async def work(generation: Generation) -> None:
        for text in "abc":
            generation.emit(TextDelta(text))
            await anyio.lowlevel.checkpoint()
        generation.emit(END)

    async with open_generations() as generations:
        generation = generations.start(started(), work)
        whole = await events_after(generation, 0)

        assert [number for number, _ in whole] == [1, 2, 3, 4, 5]
        assert await events_after(generation, 3) == whole[3:]
        assert await events_after(generation, 99) == []


async def test_the_answer_goes_on_when_its_reader_leaves() -> None:
    go_on = anyio.Event()

    async def work(generation: Generation) -> None:
        await go_on.wait()
        generation.emit(END)

    async with open_generations() as generations:
        generation = generations.start(started(), work)
        reader = generation.follow()
        await anext(reader)
        await reader.aclose()
        go_on.set()

        assert (await events_after(generation, 1)) == [(2, END)]


async def test_stopping_ends_the_work_and_waits_for_its_last_event() -> None:
    async def work(generation: Generation) -> None:
        with generation.scope:
            await anyio.sleep_forever()
        generation.emit(END)

    async with open_generations() as generations:
        generation = generations.start(started(), work)
        await generation.stop()

        assert generation.state == "failed"


async def test_a_conversation_answers_one_question_at_a_time() -> None:
    async def work(generation: Generation) -> None:
        with generation.scope:
            await anyio.sleep_forever()
        generation.emit(END)

    async with open_generations() as generations:
        generation = generations.start(started(), work)
        with pytest.raises(ConversationBusy):
            generations.require_idle("c")
        generations.require_idle("another")
        await generation.stop()
        generations.require_idle("c")


async def test_old_answers_are_forgotten_and_running_ones_never() -> None:
    async def end(generation: Generation) -> None:
        generation.emit(END)

    async def wait(generation: Generation) -> None:
        with generation.scope:
            await anyio.sleep_forever()
        generation.emit(END)

    async with open_generations() as generations:
        running = generations.start(started(0), wait)
        for number in range(1, ENDED_KEPT + 10):
            await events_after(generations.start(started(number, conversation=f"c{number}"), end), 0)
        generations.start(started(9_999, conversation="last"), end)

        assert generations.get(running.id) is running
        with pytest.raises(GenerationNotFound):
            generations.get("t1")
        await running.stop()


async def test_of_long_answers_only_the_latest_are_kept_event_by_event() -> None:
    async def end(generation: Generation) -> None:
        generation.emit(TextDelta("x" * ENDED_BYTES))
        generation.emit(END)

    async with open_generations() as generations:
        for number in range(ENDED_KEPT_ANYWAY + 2):
            await events_after(generations.start(started(number, conversation=f"c{number}"), end), 0)
        generations.start(started(9_999, conversation="last"), end)

        kept = [generations.find(f"t{number}") is not None for number in range(ENDED_KEPT_ANYWAY + 2)]

    assert kept == [False, False] + [True] * ENDED_KEPT_ANYWAY
