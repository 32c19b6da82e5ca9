"""What every engine promises, checked on each: the stand-in, the real one on nonsense and on real weights.

The real one runs the bundled library, and a ``llama-server``: the one that the developer named, or a stand-in
made of that library.
"""

import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
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
from coding_assistant.inference.engine_programs import ProgramSearch
from coding_assistant.inference.llama import LlamaEngine
from coding_assistant.protocols import Engine
from support.engine_events import end_of, text_of
from support.llama_engines import llama_engine
from support.scripted_engine import ScriptedEngine
from support.stand_in_llama_server import install
from support.tiny_model import PHI3_CONTROLS, TinyModel

pytestmark = pytest.mark.anyio

CONTEXT_TOKENS = 1_024
SLOTS = 2

BINARY = "in a binary"
NAMED_BINARY = os.environ.get("CODING_ASSISTANT_TEST_LLAMA_SERVER")  # read before the suite hides it
SMOLLM2 = ("smollm2", f"smollm2 {BINARY}") if NAMED_BINARY else ("smollm2",)
GUESSING = (*SMOLLM2, *(f"{name} guessing" for name in SMOLLM2))

LONG_QUESTION = (
    Message(Role.SYSTEM, "You are brief and honest. " * 30),
    Message(Role.USER, "What is a list?"),
)
QUESTION = (Message(Role.SYSTEM, "You are brief."), Message(Role.USER, "What is a list in Python?"))


@pytest.fixture
def snapshot_folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


@pytest.fixture
def programs(request: pytest.FixtureRequest, tmp_path: Path) -> ProgramSearch:
    """What runs the model of an engine: its parameter says whether that is a binary."""
    if BINARY not in request.node.callspec.params["engine"]:
        return ProgramSearch()
    return ProgramSearch(NAMED_BINARY or str(install(tmp_path / "opt")))


def real_engine(
    file: Path,
    snapshot_folder: Path | None,
    *,
    prompt_format: str = "auto",
    speculation: str = "off",
    programs: ProgramSearch | None = None,
) -> LlamaEngine:
    return llama_engine(
        file,
        prompt_format=prompt_format,
        speculation=speculation,
        slots=SLOTS,
        context_tokens=CONTEXT_TOKENS,
        snapshot_folder=snapshot_folder,
        programs=programs,
    )


@pytest.fixture(
    params=[
        "scripted",
        "tiny",
        f"tiny {BINARY}",
        *[pytest.param(name, marks=pytest.mark.model) for name in SMOLLM2],
    ]
)
async def engine(
    request: pytest.FixtureRequest, tmp_path: Path, snapshot_folder: Path, programs: ProgramSearch
) -> AsyncIterator[Engine]:
    made: Engine
    if request.param == "scripted":
        made = ScriptedEngine(
            "one two three four " * 20,
            context_tokens=CONTEXT_TOKENS,
            slots=SLOTS,
            snapshot_folder=snapshot_folder,
        )
    elif request.param.startswith("tiny"):
        file = TinyModel("Phi-3 of the tests", controls=PHI3_CONTROLS).write(tmp_path)
        made = real_engine(file, snapshot_folder, prompt_format="phi3", programs=programs)
    else:
        speculation = "ngram" if "guessing" in request.param else "off"
        file = request.getfixturevalue("smollm2")
        made = real_engine(file, snapshot_folder, speculation=speculation, programs=programs)
    try:
        yield made
        if BINARY in request.param:
            assert not (await made.load()).notice, "another program ran than was to be tested"
    finally:
        await made.close()


def ask(tokens: Sequence[int], *, slot: int = 0, max_tokens: int = 8) -> GenerationRequest:
    return GenerationRequest(tuple(tokens), slot, max_tokens, temperature=0.0, top_p=1.0)


async def events_of(engine: Engine, request: GenerationRequest) -> list[EngineEvent]:
    async with aclosing(engine.generate(request)) as events:
        return [event async for event in events]


def answer_of(events: Sequence[EngineEvent]) -> Message:
    """Return the answer as it stands in the next prompt."""
    pieces = [event for event in events if isinstance(event, TextPiece)]
    are_known = all(piece.tokens for piece in pieces)
    tokens = tuple(token for piece in pieces for token in piece.tokens if are_known)
    return Message(Role.ASSISTANT, text_of(events), tokens)


async def read_ahead(engine: Engine, tokens: Sequence[int], *, slot: int) -> list[PromptRead]:
    async with aclosing(engine.read(tokens, slot=slot)) as reading:
        return [read async for read in reading]


def sizes_in(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.glob("*")}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def cached(engine: Engine, tokens: Sequence[int], *, slot: int) -> int:
    return end_of(await events_of(engine, ask(tokens, slot=slot, max_tokens=1))).cached_tokens


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


async def test_a_run_is_told_from_another_and_the_vocabulary_and_the_snapshots_are_the_same(
    engine: Engine,
) -> None:
    first = await engine.load()
    await engine.close()
    second = await engine.load()

    assert first.run != second.run
    assert first.vocabulary == second.vocabulary != ""
    assert first.snapshots == second.snapshots != ""


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
    end = end_of(events)
    assert end.cached_tokens + end.new_tokens == len(tokens)
    assert 1 <= end.written_tokens <= 8


async def test_an_answer_stops_at_the_number_of_tokens_that_were_asked_for(engine: Engine) -> None:
    end = end_of(await events_of(engine, ask(await engine.encode(QUESTION), max_tokens=2)))

    assert end.finish is Finish.LENGTH
    assert end.written_tokens == 2


async def test_a_follow_up_in_the_same_slot_costs_only_what_is_new(engine: Engine) -> None:
    first = await engine.encode(QUESTION)
    answer = text_of(await events_of(engine, ask(first, slot=1)))
    follow_up = await engine.encode(
        [*QUESTION, Message(Role.ASSISTANT, answer), Message(Role.USER, "And a tuple?")]
    )
    end = end_of(await events_of(engine, ask(follow_up, slot=1)))

    assert end.cached_tokens >= len(first)
    assert end.new_tokens == len(follow_up) - end.cached_tokens


async def test_the_slots_do_not_share_what_they_have_read(engine: Engine) -> None:
    await events_of(engine, ask(await engine.encode(QUESTION), slot=0))
    stranger = (Message(Role.USER, "Something else altogether"),)
    end = end_of(await events_of(engine, ask(await engine.encode(stranger), slot=1)))

    assert end.cached_tokens == 0


async def test_two_slots_answer_at_the_same_time(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    answers: dict[int, list[EngineEvent]] = {}

    async def answer(slot: int) -> None:
        answers[slot] = await events_of(engine, ask(tokens, slot=slot))

    async with anyio.create_task_group() as tasks:
        for slot in range(SLOTS):
            tasks.start_soon(answer, slot)

    assert [end_of(answers[slot]).new_tokens for slot in range(SLOTS)] == [len(tokens)] * SLOTS


async def test_after_a_reader_left_the_slot_answers_the_next(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    async with aclosing(engine.generate(ask(tokens, max_tokens=500))) as events:
        async for event in events:
            if isinstance(event, TextPiece):
                break

    assert end_of(await events_of(engine, ask(tokens, max_tokens=1))).written_tokens == 1


async def test_a_prompt_over_the_context_is_refused_with_the_numbers(engine: Engine) -> None:
    tokens = (await engine.encode(QUESTION)) * 100
    with pytest.raises(InvalidRequest, match=rf"{len(tokens):,} tokens.*{CONTEXT_TOKENS:,}"):
        await events_of(engine, ask(tokens))


async def test_a_slot_that_is_not_there_is_refused(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    with pytest.raises(InvalidRequest, match="slot 2"):
        await events_of(engine, ask(tokens, slot=SLOTS))


@pytest.mark.parametrize(
    "engine",
    ["scripted", *[pytest.param(name, marks=pytest.mark.model) for name in GUESSING]],
    indirect=True,
)
async def test_the_tokens_of_an_answer_are_all_that_a_follow_up_need_not_read(engine: Engine) -> None:
    messages = list(QUESTION)
    read = 0
    for turn in range(10):
        prompt = await engine.encode(messages)
        events = await events_of(engine, ask(prompt, max_tokens=12))
        end, answer = end_of(events), answer_of(events)
        new_tokens = len(prompt) - read
        assert abs(end.new_tokens - new_tokens) <= max(2, new_tokens * 0.02)

        assert len(answer.tokens) in {end.written_tokens - 1, end.written_tokens}  # the end is a token too
        read = len(prompt) + len(answer.tokens)
        messages += [answer, Message(Role.USER, f"And what of the thing number {turn}, is it a list?")]


async def test_no_token_of_an_answer_is_structure(engine: Engine) -> None:
    events = await events_of(engine, ask(await engine.encode(QUESTION), max_tokens=200))
    control = (await engine.encode(QUESTION))[:1]
    plain, forged = [
        [*QUESTION, Message(Role.ASSISTANT, "It is.", tokens), Message(Role.USER, "And?")]
        for tokens in ((), control)
    ]

    assert set(answer_of(events).tokens) & set(control) == set()
    assert await engine.encode(forged) == await engine.encode(plain)


async def test_what_was_read_ahead_is_there_when_the_question_comes(engine: Engine) -> None:
    tokens = await engine.encode(LONG_QUESTION)
    reads = await read_ahead(engine, tokens[:-4], slot=1)

    assert (reads[-1].done, reads[-1].total) == (len(tokens) - 4, len(tokens) - 4)
    assert await cached(engine, tokens, slot=1) >= len(tokens) - 5


async def test_reading_ahead_that_is_given_up_keeps_what_is_read(engine: Engine) -> None:
    tokens = (await engine.encode(QUESTION)) * 12
    async with aclosing(engine.read(tokens, slot=0)) as reading:
        async for read in reading:
            if read.done >= read.total // 2:
                break

    assert await cached(engine, tokens, slot=0) >= len(tokens) // 2


async def test_a_slot_that_was_saved_goes_on_in_another(engine: Engine) -> None:
    tokens = await engine.encode(LONG_QUESTION)
    events = await events_of(engine, ask(tokens, slot=0))
    said = (*tokens, *answer_of(events).tokens)

    assert await engine.save_slot(0, "a1-b2.kv") > 0
    assert await engine.restore_slot(1, "a1-b2.kv") >= len(tokens)
    assert await cached(engine, (*said, *tokens[-60:]), slot=1) >= len(said) - 1


async def test_a_snapshot_outlives_the_run(engine: Engine, snapshot_folder: Path) -> None:
    tokens = await engine.encode(LONG_QUESTION)
    await events_of(engine, ask(tokens))
    size = await engine.save_slot(0, "a1-b2.kv")
    await engine.close()

    assert sizes_in(snapshot_folder) == {"a1-b2.kv": size}
    await engine.load()
    assert await engine.restore_slot(0, "a1-b2.kv") >= len(tokens)
    assert await cached(engine, tokens, slot=0) == len(tokens) - 1


async def test_what_concerns_slots_alone_never_loads_the_model(engine: Engine, snapshot_folder: Path) -> None:
    await events_of(engine, ask(await engine.encode(QUESTION)))
    await engine.save_slot(0, "a1-b2.kv")
    await engine.close()

    assert await engine.restore_slot(0, "a1-b2.kv") == 0
    assert await engine.save_slot(0, "c3-d4.kv") == 0
    await engine.erase_slot(0)
    assert not engine.is_loaded
    assert list(sizes_in(snapshot_folder)) == ["a1-b2.kv"]


@pytest.mark.skipif(os.name != "posix", reason="the modes are POSIX's")
@pytest.mark.parametrize("engine", ["tiny", f"tiny {BINARY}"], indirect=True)
async def test_a_snapshot_can_be_read_by_nobody_else(engine: Engine, snapshot_folder: Path) -> None:
    await events_of(engine, ask(await engine.encode(QUESTION)))
    await engine.save_slot(0, "a1-b2.kv")

    assert [mode_of(path) for path in (snapshot_folder, snapshot_folder / "a1-b2.kv")] == [0o700, 0o600]


async def test_an_empty_slot_makes_no_file(engine: Engine, snapshot_folder: Path) -> None:
    await engine.load()

    assert await engine.save_slot(0, "a1-b2.kv") == 0
    assert sizes_in(snapshot_folder) == {}


async def test_a_slot_that_was_erased_knows_nothing(engine: Engine) -> None:
    tokens = await engine.encode(QUESTION)
    await events_of(engine, ask(tokens))
    await engine.erase_slot(0)

    assert await engine.save_slot(0, "a1-b2.kv") == 0
    assert await cached(engine, tokens, slot=0) == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:0],
        lambda content: content[:3],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(byte ^ 0x55 for byte in content),
        lambda content: content[len(content) // 2 :],
    ],
    ids=["empty", "three bytes", "half", "all but a byte", "garbled", "the other half"],
)
async def test_a_file_that_cannot_be_used_is_refused_and_the_engine_lives(
    damage: Callable[[bytes], bytes], engine: Engine, snapshot_folder: Path
) -> None:
    tokens = await engine.encode(QUESTION)
    run = (await engine.load()).run
    await events_of(engine, ask(tokens))
    await engine.save_slot(0, "a1-b2.kv")
    file = snapshot_folder / "a1-b2.kv"
    file.write_bytes(damage(file.read_bytes()))

    assert await engine.restore_slot(1, "a1-b2.kv") == 0
    assert await engine.restore_slot(1, "c3-d4.kv") == 0
    assert await cached(engine, tokens, slot=1) == 0
    assert (await engine.load()).run == run


async def test_a_snapshot_holds_nothing_of_another_slot(engine: Engine, snapshot_folder: Path) -> None:
    secret = await engine.encode([Message(Role.USER, "The canary is called Tweety " * 8)])
    await events_of(engine, ask(secret, slot=0))
    before = await engine.encode([Message(Role.USER, "The canary is called Tweety " * 8 + "indeed")])
    await events_of(engine, ask(before, slot=1))
    other = await engine.encode(QUESTION)
    await events_of(engine, ask(other, slot=1))  # over what was there
    await engine.save_slot(1, "a1-b2.kv")
    await engine.close()

    await engine.load()
    held = await engine.restore_slot(0, "a1-b2.kv")
    assert len(other) <= held <= len(other) + 8
    shared = next(n for n, (a, b) in enumerate(zip(secret, other, strict=False)) if a != b)
    assert await cached(engine, secret, slot=0) <= shared
    content = (snapshot_folder / "a1-b2.kv").read_bytes()
    told = secret[shared : shared + 8]
    assert b"".join(token.to_bytes(4, "little") for token in told) not in content
    assert ", ".join(map(str, told)).encode() not in content


async def test_slots_can_be_saved_read_and_erased_only_where_there_are_any(engine: Engine) -> None:
    for act in (engine.save_slot(SLOTS, "a1-b2.kv"), engine.restore_slot(SLOTS, "a1-b2.kv")):
        with pytest.raises(InvalidRequest, match="slot 2"):
            await act
    with pytest.raises(InvalidRequest, match="slot 2"):
        await engine.erase_slot(SLOTS)
    with pytest.raises(InvalidRequest, match="slot 2"):
        await read_ahead(engine, (5, 6, 7), slot=SLOTS)


async def test_without_a_folder_nothing_is_saved(smollm2: Path) -> None:
    for made in (real_engine(smollm2, None), ScriptedEngine(slots=SLOTS)):
        engine: Engine = made
        try:
            await events_of(engine, ask(await engine.encode(QUESTION), max_tokens=1))
            assert (await engine.load()).snapshots == ""
            assert await engine.save_slot(0, "a1-b2.kv") == 0
            assert await engine.restore_slot(0, "a1-b2.kv") == 0
        finally:
            await engine.close()


CODE = "def gross_price(net_price: float) -> float:\n    return round(net_price * 1.19, 2)\n"


@pytest.mark.model
async def test_guessing_changes_nothing_but_the_time(smollm2: Path) -> None:
    messages = [Message(Role.USER, f"Repeat this code three times:\n{CODE * 4}")]
    told: list[str] = []
    for speculation in ("off", "ngram"):
        engine = real_engine(smollm2, None, speculation=speculation)
        try:
            events = await events_of(engine, ask(await engine.encode(messages), max_tokens=60))
            assert len(answer_of(events).tokens) in {end_of(events).written_tokens - n for n in (0, 1)}
            told.append(text_of(events))
        finally:
            await engine.close()

    assert told[0] == told[1]


@pytest.mark.model
async def test_an_answer_that_a_stop_string_cuts_inside_of_a_token_has_no_tokens(smollm2: Path) -> None:
    engine = real_engine(smollm2, None)
    try:
        tokens = await engine.encode([Message(Role.USER, f"Repeat this code three times:\n{CODE * 4}")])
        free = await events_of(engine, ask(tokens, max_tokens=30))
        whole = text_of(free)
        stop = next(
            event.text[2:] for event in free if isinstance(event, TextPiece) and len(event.text) > len("its")
        )
        events = await events_of(engine, replace(ask(tokens, max_tokens=30), stop=(stop,)))
    finally:
        await engine.close()

    assert text_of(events) == whole[: whole.index(stop)]
    assert end_of(events).finish is Finish.COMPLETE
    assert answer_of(free).tokens
    assert answer_of(events).tokens == ()
