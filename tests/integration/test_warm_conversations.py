"""What makes a conversation go on at once: only new tokens are read, after switches and restarts too."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from coding_assistant import contract
from coding_assistant.assistant import AsyncAssistant
from coding_assistant.contract import PrefetchRequest, QueryRequest, QueryResponse
from coding_assistant.domain import Finish
from coding_assistant.errors import EngineBusy, EngineDied, KeyReused
from coding_assistant.settings import Settings
from support.scripted_engine import Script, ScriptedEngine, only
from support.shop import write_shop

pytestmark = pytest.mark.anyio

Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncAssistant]]

SLACK = 1.02
QUESTIONS = (
    "When does a session end?",
    "and why is that?",
    "How is gross_price computed?",
    "what is the rate?",
    "who calls session_expired?",
    "and the price?",
    "what is it for?",
    "is it tested?",
    "where is `now` from?",
    "thanks, and what about errors?",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_shop(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def opened(home: Path, project: Path) -> Opener:
    @asynccontextmanager
    async def open_with(engine: ScriptedEngine, *, longest_queue: int = 16) -> AsyncIterator[AsyncAssistant]:
        chosen = Settings(home=home, slots=1, longest_queue=longest_queue)
        async with AsyncAssistant.open(chosen, make_engine=only(engine)) as assistant:
            await assistant.add_project(str(project))
            yield assistant

    return open_with


def engine_of(home: Path, *scripts: Script | str) -> ScriptedEngine:
    return ScriptedEngine(*scripts, slots=1, snapshot_folder=home / "snapshots")


def assert_only_new_was_read(before: QueryResponse, after: QueryResponse) -> None:
    """Compare with what the new turn takes: the prompt without the one before and what was answered to it."""
    assert before.receipt is not None
    assert after.receipt is not None
    new_turn = after.receipt.used - before.receipt.used - before.timings.written_tokens
    assert after.receipt.new <= new_turn * SLACK + 1


async def test_each_follow_up_of_ten_reads_only_its_new_tokens(opened: Opener, home: Path) -> None:
    engine = engine_of(home, "  It ends [1], [77] says.\n\n", "Because of `now`.  ")
    async with opened(engine) as assistant:
        answers = [await assistant.query(QueryRequest(query=QUESTIONS[0]))]
        for question in QUESTIONS[1:]:
            request = QueryRequest(query=question, conversation_id=answers[0].conversation_id)
            answers.append(await assistant.query(request))

    for before, after in pairwise(answers):
        assert_only_new_was_read(before, after)


async def test_conversations_in_turn_on_one_slot_read_only_what_is_new(opened: Opener, home: Path) -> None:
    engine = engine_of(home, "It is in [1].")
    async with opened(engine) as assistant:
        first = [await assistant.query(QueryRequest(query=question)) for question in QUESTIONS[:4]]
        second = [
            await assistant.query(
                QueryRequest(query="and why is that?", conversation_id=each.conversation_id)
            )
            for each in first
        ]
    for before, after in zip(first, second, strict=True):
        assert_only_new_was_read(before, after)


async def test_a_conversation_goes_on_warm_after_a_restart(opened: Opener, home: Path) -> None:
    async with opened(engine_of(home, "It is in [1].")) as assistant:
        before = await assistant.query(QueryRequest(query=QUESTIONS[0]))
    async with opened(engine_of(home, "As I said.")) as assistant:
        after = await assistant.query(
            QueryRequest(query="and why is that?", conversation_id=before.conversation_id)
        )
    assert_only_new_was_read(before, after)


async def test_what_the_model_has_read_goes_with_the_conversation(opened: Opener, home: Path) -> None:
    async with opened(engine_of(home, "It is in [1].")) as assistant:
        answer = await assistant.query(QueryRequest(query=QUESTIONS[0]))
    (snapshot,) = (home / "snapshots").iterdir()
    assert answer.conversation_id in snapshot.name
    async with opened(engine_of(home)) as assistant:
        await assistant.delete_conversation(answer.conversation_id)
    assert not list((home / "snapshots").iterdir())


async def test_what_a_crash_has_left_of_a_deleted_conversation_goes_at_the_start(
    opened: Opener, home: Path
) -> None:
    async with opened(engine_of(home, "It is in [1].")) as assistant:
        await assistant.query(QueryRequest(query=QUESTIONS[0]))
    (kept,) = (home / "snapshots").iterdir()
    stray = kept.with_name(kept.name.replace(kept.stem.rpartition("-")[2], "0" * 32))
    stray.write_bytes(b"what was read")
    async with opened(engine_of(home)):
        assert list((home / "snapshots").iterdir()) == [kept]


async def test_clearing_the_history_erases_what_a_slot_holds(opened: Opener, home: Path) -> None:
    engine = engine_of(home, "The secret is 4711.")
    async with opened(engine) as assistant:
        answer = await assistant.query(QueryRequest(query=QUESTIONS[0]))
        assert "4711" in engine.held(0)
        await assistant.clear_history(answer.conversation_id)
        assert "4711" not in engine.held(0)


async def test_what_is_typed_is_read_before_it_is_asked(opened: Opener, home: Path) -> None:
    engine = engine_of(home, "It is in [1].")
    async with opened(engine) as assistant:
        await assistant.prefetch(PrefetchRequest(text="When does a session"))
        await anyio.wait_all_tasks_blocked()
        while not engine.read_ahead:
            await anyio.wait_all_tasks_blocked()
        answer = await assistant.query(QueryRequest(query=QUESTIONS[0]))
    assert answer.receipt is not None
    ahead = engine.read_ahead[0]
    assert engine.requests[0].tokens[: len(ahead)] == ahead
    assert answer.receipt.cached >= len(ahead) - 1


async def test_reading_ahead_is_off_where_several_share_the_model(opened: Opener, home: Path) -> None:
    engine = engine_of(home, "It is in [1].")
    async with opened(engine) as assistant:
        for question in QUESTIONS[:2]:
            await assistant.query(QueryRequest(query=question))
        await assistant.prefetch(PrefetchRequest(text="When does a session"))
        await anyio.wait_all_tasks_blocked()
    assert not engine.read_ahead


async def test_a_question_sent_twice_under_one_key_is_asked_once(opened: Opener, home: Path) -> None:
    engine = engine_of(home, "It is in [1].")
    request = QueryRequest(query=QUESTIONS[0])
    async with opened(engine) as assistant:
        first = await assistant.query(request, idempotency_key="key-1")
        second = await assistant.query(request, idempotency_key="key-1")
        with pytest.raises(KeyReused):
            await assistant.query(QueryRequest(query="another"), idempotency_key="key-1")
    assert second == first
    assert len(engine.requests) == 1
    async with opened(engine_of(home)) as assistant:
        third = await assistant.query(request, idempotency_key="key-1")
    assert third == first


async def test_an_answer_of_before_a_restart_can_still_be_followed(opened: Opener, home: Path) -> None:
    async with opened(engine_of(home, "It is in [1].")) as assistant:
        generation_id = await assistant.begin(QueryRequest(query=QUESTIONS[0]))
        events = [event async for event in assistant.follow(generation_id)]
    async with opened(engine_of(home)) as assistant:
        again = [event async for event in assistant.follow(generation_id)]
        rest = [event async for event in assistant.follow(generation_id, after=5)]
        state = (await assistant.generation(generation_id)).state
    assert [event.name for event in again] == ["started", "sources", "text", "finished"]
    assert again[-1].data == events[-1].data
    assert [event.name for event in rest] == ["finished"]
    assert state == "finished"


async def test_who_waits_is_told_and_beyond_the_queue_is_refused(opened: Opener, home: Path) -> None:
    engine = engine_of(home, Script(waits=True))
    async with opened(engine, longest_queue=1) as assistant:
        await assistant.begin(QueryRequest(query=QUESTIONS[0]))
        await engine.waiting.wait()
        waits = await assistant.begin(QueryRequest(query=QUESTIONS[1]))
        async for event in assistant.follow(waits):
            if isinstance(event.data, contract.WaitingEvent):
                assert event.data.ahead == 0
                break
        with pytest.raises(EngineBusy) as refused:
            await assistant.query(QueryRequest(query=QUESTIONS[2]))
        assert refused.value.retry_after_seconds
        engine.go_on()
        async for event in assistant.follow(waits):
            last = event
    assert last.name == "finished"


async def test_the_context_tells_what_the_next_question_finds(opened: Opener, home: Path) -> None:
    engine = engine_of(home, "It is in [1].")
    async with opened(engine) as assistant:
        answer = await assistant.query(QueryRequest(query=QUESTIONS[0]))
        context = await assistant.context(answer.conversation_id)
        follow_up = await assistant.query(
            QueryRequest(query="and why is that?", conversation_id=answer.conversation_id)
        )
    assert context.next is not None
    assert context.next.exact
    assert follow_up.receipt is not None
    assert abs(context.next.held - follow_up.receipt.cached) <= 2
    assert context.next.cached == context.next.held


async def test_reading_ahead_that_fails_harms_nobody(opened: Opener) -> None:
    engine = ScriptedEngine(slots=1, load_fails=EngineDied("It died."))
    async with opened(engine) as assistant:
        await assistant.prefetch(PrefetchRequest(text="When does a session"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(EngineDied):
            await assistant.query(QueryRequest(query=QUESTIONS[0]))


async def test_a_refused_question_leaves_nothing_behind(opened: Opener, home: Path) -> None:
    engine = engine_of(home, Script(waits=True))
    async with opened(engine, longest_queue=0) as assistant:
        first = await assistant.begin(QueryRequest(query=QUESTIONS[0]))
        with pytest.raises(EngineBusy):
            await assistant.begin(QueryRequest(query=QUESTIONS[1]), idempotency_key="key")
        assert len(await assistant.conversations()) == 1
        engine.go_on()
        async for _ in assistant.follow(first):
            pass
        answer = await assistant.query(QueryRequest(query=QUESTIONS[1]), idempotency_key="key")
    assert answer.finish_reason is Finish.COMPLETE
