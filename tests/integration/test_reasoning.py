"""What a model thinks, from the engine to those who read: shown, and kept nowhere."""

from pathlib import Path

import pytest

from coding_assistant import contract
from coding_assistant.contract import QueryRequest, StreamEvent
from coding_assistant.errors import OnlyThoughts
from coding_assistant.settings import Settings
from support.opened import Opener, opener
from support.scripted_engine import Script, ScriptedEngine
from support.shop import write_shop

pytestmark = pytest.mark.anyio

ASKED = QueryRequest(query="When does a session end?")
THOUGHTFUL = Script("After 1800 seconds [1].", reasoning="Zeppelin: the user wants [2] `secret_plan`.")


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    project = write_shop(tmp_path)
    return opener(Settings(home=tmp_path / "home"), project)


async def test_thoughts_stream_apart_and_come_with_the_fresh_answer(opened: Opener) -> None:
    async with opened(ScriptedEngine(THOUGHTFUL)) as assistant:
        events = [event async for event in assistant.ask(ASKED)]

    names = [event.name for event in events]
    assert names.index("reasoning") < names.index("text")
    thought = "".join(each.data.text for each in events if isinstance(each.data, contract.ReasoningEvent))
    said = "".join(each.data.text for each in events if isinstance(each.data, contract.TextEvent))
    finished = events[-1].data
    assert isinstance(finished, contract.QueryResponse)
    assert (thought, said) == (THOUGHTFUL.reasoning, THOUGHTFUL.text)
    assert (finished.reasoning, finished.response) == (THOUGHTFUL.reasoning, THOUGHTFUL.text)
    assert {citation.number for citation in finished.citations} == {1}
    assert finished.timings.written_tokens > len(THOUGHTFUL.text.split())


async def test_thoughts_are_neither_kept_nor_found_nor_read_again(opened: Opener, tmp_path: Path) -> None:
    engine = ScriptedEngine(THOUGHTFUL)
    async with opened(engine) as assistant:
        first = await assistant.query(ASKED)
        again = await assistant.query(
            ASKED.model_copy(update={"query": "and why?", "conversation_id": first.conversation_id})
        )
        history = await assistant.history(first.conversation_id)
        assert await assistant.search_messages("Zeppelin") == []
        generation_id = first.message_id.partition("-")[0]
        kept = [event async for event in assistant.follow(generation_id)]

    assert "Zeppelin" not in engine.prompt_text(engine.requests[1])
    assert "After 1800 seconds" in engine.prompt_text(engine.requests[1])
    assert again.reasoning == THOUGHTFUL.reasoning
    assert [message.content for message in history.messages if message.role == "assistant"] == [
        THOUGHTFUL.text,
        THOUGHTFUL.text,
    ]
    assert kept[-1].is_last
    files = [file for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert not [file for file in files if b"Zeppelin" in file.read_bytes()]


async def test_a_reply_used_up_by_thoughts_says_so(opened: Opener) -> None:
    engine = ScriptedEngine(Script("In [1].", reasoning="Well, let me think about it."))
    async with opened(engine) as assistant:
        short = ASKED.model_copy(update={"max_tokens": 3})
        events: list[StreamEvent] = [event async for event in assistant.ask(short)]
        failed = events[-1].data
        with pytest.raises(OnlyThoughts):
            await assistant.query(short.model_copy(update={"query": "Again?"}))

    assert isinstance(failed, contract.ErrorEvent)
    assert failed.code == OnlyThoughts.code
    assert "3 tokens" in failed.detail
    assert "max_tokens" in failed.hint


async def test_a_model_that_ends_within_its_thoughts_says_so(opened: Opener) -> None:
    async with opened(ScriptedEngine(Script("", reasoning="Hm."))) as assistant:
        with pytest.raises(OnlyThoughts, match="within its thoughts"):
            await assistant.query(ASKED)
