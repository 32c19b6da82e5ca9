"""What every engine promises, checked on each: the stand-in, the real one on nonsense and on real weights."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from coding_assistant.domain import (
    EngineEvent,
    Finish,
    GenerationEnded,
    GenerationRequest,
    Message,
    PromptRead,
    Role,
    TextPiece,
)
from coding_assistant.errors import InvalidRequest
from coding_assistant.protocols import Engine
from support.llama_engines import llama_engine
from support.scripted_engine import ScriptedEngine
from support.tiny_model import PHI3_CONTROLS, TinyModel

pytestmark = pytest.mark.anyio

CONTEXT_TOKENS = 1_024
SLOTS = 2

QUESTION = (Message(Role.SYSTEM, "You are brief."), Message(Role.USER, "What is a list in Python?"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["scripted", "tiny", pytest.param("smollm2", marks=pytest.mark.model)])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    made: Engine
    if request.param == "scripted":
        made = ScriptedEngine("one two three four " * 20, context_tokens=CONTEXT_TOKENS, slots=SLOTS)
    elif request.param == "tiny":
        file = TinyModel("Phi-3 of the tests", controls=PHI3_CONTROLS).write(tmp_path)
        made = llama_engine(file, prompt_format="phi3", slots=SLOTS, context_tokens=CONTEXT_TOKENS)
    else:
        file = request.getfixturevalue("smollm2")
        made = llama_engine(file, slots=SLOTS, context_tokens=CONTEXT_TOKENS)
    try:
        yield made
    finally:
        await made.close()


def ask(tokens: Sequence[int], *, slot: int = 0, max_tokens: int = 8) -> GenerationRequest:
    return GenerationRequest(tuple(tokens), slot, max_tokens, temperature=0.0, top_p=1.0)


async def events_of(engine: Engine, request: GenerationRequest) -> list[EngineEvent]:
    async with aclosing(engine.generate(request)) as events:
        return [event async for event in events]


def ended(events: Sequence[EngineEvent]) -> GenerationEnded:
    assert isinstance(events[-1], GenerationEnded)
    return events[-1]


def text_of(events: Sequence[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextPiece))


async def test_it_loads_at_the_first_call_and_again_after_it_was_closed(engine: Engine) -> None:
    loaded = [engine.is_loaded]
    await engine.tokenize("hello")
    loaded.append(engine.is_loaded)
    await engine.close()
    loaded.append(engine.is_loaded)
    info = await engine.load()
    loaded.append(engine.is_loaded)

    assert loaded == [False, True, False, True]
    assert (info.model, info.context_tokens, info.slots) == (engine.name, CONTEXT_TOKENS, SLOTS)


async def test_loading_and_closing_twice_is_harmless(engine: Engine) -> None:
    assert await engine.load() == await engine.load()
    await engine.close()
    await engine.close()


async def test_the_same_text_has_the_same_tokens(engine: Engine) -> None:
    assert await engine.tokenize("def f(x):\n    return x") == await engine.tokenize(
        "def f(x):\n    return x"
    )
    assert await engine.tokenize("") == ()


async def test_a_longer_conversation_begins_with_the_tokens_of_the_shorter(engine: Engine) -> None:
    short = await engine.encode(QUESTION)
    for answer in ("It is a sequence.", "\n\n  It is.", ""):
        longer = [*QUESTION, Message(Role.ASSISTANT, answer), Message(Role.USER, "And a tuple?")]
        assert (await engine.encode(longer))[: len(short)] == short


async def test_an_answer_is_reading_then_text_then_one_end(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    events = await events_of(engine, ask(tokens))

    reads = [event for event in events if isinstance(event, PromptRead)]
    assert [type(event) for event in events[: len(reads)]] == [PromptRead] * len(reads)
    assert [read.done for read in reads] == sorted(read.done for read in reads)
    assert (reads[-1].done, reads[-1].total) == (len(tokens), len(tokens))
    assert sum(isinstance(event, GenerationEnded) for event in events) == 1
    end = ended(events)
    assert end.cached_tokens + end.new_tokens == len(tokens)
    assert 1 <= end.written_tokens <= 8


async def test_an_answer_stops_at_the_number_of_tokens_that_were_asked_for(engine: Engine) -> None:
    end = ended(await events_of(engine, ask(await engine.encode(QUESTION), max_tokens=2)))

    assert end.finish is Finish.LENGTH
    assert end.written_tokens == 2


async def test_a_follow_up_in_the_same_slot_costs_only_what_is_new(engine: Engine) -> None:
    first = await engine.encode(QUESTION)
    answer = text_of(await events_of(engine, ask(first, slot=1)))
    follow_up = await engine.encode(
        [*QUESTION, Message(Role.ASSISTANT, answer), Message(Role.USER, "And a tuple?")]
    )
    end = ended(await events_of(engine, ask(follow_up, slot=1)))

    assert end.cached_tokens >= len(first)
    assert end.new_tokens == len(follow_up) - end.cached_tokens


async def test_the_slots_do_not_share_what_they_have_read(engine: Engine) -> None:
    await events_of(engine, ask(await engine.encode(QUESTION), slot=0))
    stranger = (Message(Role.USER, "Something else altogether"),)
    end = ended(await events_of(engine, ask(await engine.encode(stranger), slot=1)))

    assert end.cached_tokens == 0


async def test_two_slots_answer_at_the_same_time(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    answers: dict[int, list[EngineEvent]] = {}

    async def answer(slot: int) -> None:
        answers[slot] = await events_of(engine, ask(tokens, slot=slot))

    async with anyio.create_task_group() as tasks:
        for slot in range(SLOTS):
            tasks.start_soon(answer, slot)

    assert [ended(answers[slot]).new_tokens for slot in range(SLOTS)] == [len(tokens)] * SLOTS


async def test_after_a_reader_left_the_slot_answers_the_next(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    async with aclosing(engine.generate(ask(tokens, max_tokens=500))) as events:
        async for event in events:
            if isinstance(event, TextPiece):
                break

    assert ended(await events_of(engine, ask(tokens, max_tokens=1))).written_tokens == 1


async def test_a_prompt_over_the_context_is_refused_with_the_numbers(engine: Engine) -> None:
    tokens = (await engine.encode(QUESTION)) * 100
    with pytest.raises(InvalidRequest, match=rf"{len(tokens):,} tokens.*{CONTEXT_TOKENS:,}"):
        await events_of(engine, ask(tokens))


async def test_a_slot_that_is_not_there_is_refused(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    with pytest.raises(InvalidRequest, match="slot 2"):
        await events_of(engine, ask(tokens, slot=SLOTS))
