"""Answers held against the project: what is noted, taken back, told as not found; and what is kept of it."""

from pathlib import Path

import pytest

from coding_assistant import contract
from coding_assistant.contract import QueryRequest
from coding_assistant.settings import Settings
from support.opened import Opener, opener
from support.scripted_engine import ScriptedEngine
from support.shop import write_shop

pytestmark = pytest.mark.anyio

ABSENT = QueryRequest(query="Which function keeps a session in Redis?")
INVENTED = "It is `save_in_redis` that keeps it [1]."
REFUSAL = "The sources do not mention a function that does this [1]."
NOTE = 'Note: the word "Redis" occurs nowhere in this project'
RETRY = "Note: `save_in_redis` does not exist in this project."


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    project = write_shop(tmp_path)
    return opener(Settings(home=tmp_path / "home"), project)


async def test_an_invention_is_taken_back_and_asked_for_once_more(opened: Opener) -> None:
    engine = ScriptedEngine(INVENTED, REFUSAL)
    async with opened(engine) as assistant:
        events = [event async for event in assistant.ask(ABSENT)]
        finished = events[-1].data
        assert isinstance(finished, contract.QueryResponse)
        history = await assistant.history(finished.conversation_id)

    retracted = [each.data for each in events if isinstance(each.data, contract.RetractedEvent)]
    assert [each.names for each in retracted] == [["save_in_redis"]]
    after = events[[each.name for each in events].index("retracted") :]
    assert "".join(each.data.text for each in after if isinstance(each.data, contract.TextEvent)) == REFUSAL
    assert (finished.response, finished.taken_back) == (REFUSAL, ["save_in_redis"])
    assert [message.content for message in history.messages] == [ABSENT.query, REFUSAL]
    assert history.messages[-1].taken_back == ["save_in_redis"]


async def test_an_answer_that_only_points_at_sources_is_asked_for_in_words(opened: Opener) -> None:
    engine = ScriptedEngine("[1] [2]", "It is kept for 1800 seconds [1].")
    async with opened(engine) as assistant:
        events = [event async for event in assistant.ask(QueryRequest(query="How long does a session last?"))]
    (retracted,) = [each.data for each in events if isinstance(each.data, contract.RetractedEvent)]
    finished = events[-1].data
    assert isinstance(finished, contract.QueryResponse)
    assert (retracted.names, finished.response) == ([], "It is kept for 1800 seconds [1].")
    assert "answer in sentences" in engine.prompt_text(engine.requests[1])


async def test_the_second_prompt_differs_from_the_first_only_by_a_note_at_its_end(opened: Opener) -> None:
    engine = ScriptedEngine(INVENTED, REFUSAL)
    async with opened(engine) as assistant:
        finished = await assistant.query(ABSENT)

    first, second = (engine.prompt_text(request) for request in engine.requests)
    assert NOTE in first
    assert INVENTED not in second
    assert second.startswith(first[: first.index(NOTE) + len(NOTE)])
    assert second.index(NOTE) < second.index(RETRY)
    assert finished.receipt is not None
    assert finished.receipt.used == len(engine.requests[1].tokens)
    assert finished.receipt.cached + finished.receipt.new == finished.receipt.used


async def test_what_was_noted_is_said_again_in_every_prompt_to_come(opened: Opener) -> None:
    engine = ScriptedEngine(INVENTED, REFUSAL, "After 1800 seconds [1].")
    async with opened(engine) as assistant:
        first = await assistant.query(ABSENT)
        await assistant.query(
            QueryRequest(query="When does a session end?", conversation_id=first.conversation_id)
        )

    _, second, third = engine.requests
    written = len(await engine.tokenize(REFUSAL))
    assert third.tokens[: len(second.tokens)] == second.tokens
    assert len(third.tokens) > len(second.tokens) + written


async def test_an_answer_is_asked_for_once_more_only(opened: Opener) -> None:
    engine = ScriptedEngine(INVENTED, "Then it is `RedisKeeper`, surely.", REFUSAL)
    async with opened(engine) as assistant:
        finished = await assistant.query(ABSENT)

    assert len(engine.requests) == 2
    assert finished.unverified_names == ["RedisKeeper"]
    assert not finished.not_found


async def test_not_found_comes_with_what_was_searched_and_what_is_near(opened: Opener) -> None:
    async with opened(ScriptedEngine(REFUSAL)) as assistant:
        finished = await assistant.query(ABSENT)

    assert finished.not_found
    assert finished.citations == []
    assert finished.searched is not None
    assert finished.searched.files == 2
    assert "redis" in finished.searched.words
    assert "session_expired" in [place.name for place in finished.searched.nearest]


@pytest.mark.parametrize(
    "query",
    ["Write a function `keep_it` that stores a session.", "When does a session end?"],
)
async def test_what_asks_for_new_code_or_names_only_what_is_there_is_answered_once(
    opened: Opener, query: str
) -> None:
    text = "```python\nstore_it(session)\n```\nSee `session_expired` [1]."
    engine = ScriptedEngine(text)
    async with opened(engine) as assistant:
        finished = await assistant.query(QueryRequest(query=query))

    assert len(engine.requests) == 1
    assert "Note:" not in engine.prompt_text(engine.requests[0])
    assert (finished.taken_back, finished.not_found, finished.searched) == ([], False, None)
