"""The whole assistant with a model that runs elsewhere: over HTTP, from the settings to the kept answer."""

import signal
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import TaskStatus

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.contract import (
    ChatHistoryResponse,
    HistoryClearedResponse,
    MessageView,
    ModelView,
    QueryResponse,
    StartedEvent,
)
from coding_assistant.domain import Finish
from coding_assistant.settings import Settings
from coding_assistant.web.server import serve
from support.http_server import make_project
from support.remote_stand_in import (
    CONTEXT_TOKENS,
    MODEL,
    RemoteStandIn,
    Stream,
    Then,
    Vendor,
    answer_of,
    piece,
    remote_stand_in,
    thought,
)

pytestmark = pytest.mark.anyio

QUESTION = "When does a session expire?"
KEY = "sk-secret-4711"


@dataclass(frozen=True)
class Product:
    """A running server of ours, and the one elsewhere that has the model."""

    http: httpx2.AsyncClient
    remote: RemoteStandIn
    home: Path

    async def ask(self, query: str = QUESTION, **fields: object) -> QueryResponse:
        response = await self.http.post("/chat/query", json={"query": query, **fields})
        assert response.status_code == 200, response.text
        return QueryResponse.model_validate_json(response.content)

    async def messages(self, conversation_id: str) -> list[MessageView]:
        response = await self.http.get("/chat/history", params={"conversation_id": conversation_id})
        return ChatHistoryResponse.model_validate_json(response.content).messages


@asynccontextmanager
async def product(
    folder: Path, *streams: Stream, vendor: Vendor = Vendor.VLLM
) -> AsyncGenerator[Product, None]:
    async with remote_stand_in(vendor, *streams) as remote:
        settings = Settings.model_validate(
            {
                "home": folder / "home",
                "engine": "openai",
                "openai_base_url": remote.url,
                "openai_model": MODEL,
                "openai_api_key": KEY,
                "slots": 4,
            }
        )
        async with AsyncAssistant.open(settings) as assistant:
            await assistant.add_project(str(make_project(folder)))
            async with anyio.create_task_group() as tasks:
                url = await tasks.start(_serve, assistant)
                async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
                    try:
                        yield Product(http, remote, settings.home)
                    finally:
                        signal.raise_signal(signal.SIGTERM)


async def _serve(assistant: AsyncAssistant, *, task_status: TaskStatus[str]) -> None:
    await serve(assistant, host="127.0.0.1", port=0, announce=task_status.started)


async def test_a_question_gets_an_answer_with_checked_citations_and_a_receipt(tmp_path: Path) -> None:
    async with product(tmp_path, answer_of("After 1800 seconds [1].", prompt_tokens=321)) as made:
        response = await made.ask()

    assert response.model == MODEL
    assert [(each.path, each.verified) for each in response.citations] == [("sessions.py", True)]
    assert response.finish_reason is Finish.COMPLETE
    assert response.receipt is not None
    assert response.receipt.limit == CONTEXT_TOKENS
    assert "def session_expired" in str(made.remote.chats[0]["messages"])


async def test_a_follow_up_is_sent_with_all_that_was_said_as_it_was_sent(tmp_path: Path) -> None:
    async with product(tmp_path, answer_of("After 1800 seconds [1].")) as made:
        first = await made.ask()
        await made.ask("And who renews it?", conversation_id=first.conversation_id)
        before, after = (chat["messages"] for chat in made.remote.chats)

    assert isinstance(before, list)
    assert isinstance(after, list)
    assert after[: len(before)] == before
    assert [each["role"] for each in after] == ["system", "user", "assistant", "user"]


async def test_a_cancelled_answer_closes_the_connection_and_keeps_what_came(tmp_path: Path) -> None:
    stream = Stream((piece("After"), piece(" 1800")), Then.STALL)
    async with product(tmp_path, stream) as made:
        request = {"query": QUESTION, "stream": True}
        async with made.http.stream("POST", "/chat/query", json=request) as response:
            events = aiter(httpx2.EventSource(response))
            started = StartedEvent.model_validate_json((await anext(events)).data)
            async for event in events:
                if event.event == "text" and "1800" in str(event.data):
                    break
        await made.http.delete(f"/chat/generation/{started.generation_id}")
        await made.remote.until(lambda: made.remote.left == 1)
        messages = await made.messages(started.conversation_id)

    assert (messages[1].content, messages[1].finish_reason) == ("After 1800", Finish.CANCELLED)


async def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came(tmp_path: Path) -> None:
    async with product(tmp_path, Stream((piece("After"),), Then.CUT)) as made:
        response = await made.http.post("/chat/query", json={"query": QUESTION})
        conversations = (await made.http.get("/chat/conversations")).json()
        messages = await made.messages(conversations[0]["conversation_id"])

    assert response.json()["code"] == "engine_died"
    assert (messages[1].content, messages[1].finish_reason) == ("After", Finish.FAILED)


async def test_thoughts_are_shown_and_neither_kept_nor_sent_again(tmp_path: Path) -> None:
    stream = Stream((thought("Perhaps an hour?"), *answer_of("After 1800 seconds [1].").frames))
    async with product(tmp_path, stream) as made:
        first = await made.ask()
        await made.ask("And who renews it?", conversation_id=first.conversation_id)

    assert first.reasoning == "Perhaps an hour?"
    assert "Perhaps" not in first.response
    assert "Perhaps" not in str(made.remote.chats[1]["messages"])


async def test_thoughts_that_showed_as_the_answer_are_neither_kept_nor_sent_again(tmp_path: Path) -> None:
    untold = answer_of("Zeppelin! </think>\nAfter 1800 seconds [1].")
    async with product(tmp_path, untold, answer_of("Yes.")) as mine:
        first = await mine.ask()
        await mine.ask("and why?", conversation_id=first.conversation_id)
        kept = [each.content for each in await mine.messages(first.conversation_id)]

    assert first.response == "After 1800 seconds [1]."
    assert first.reasoning is not None
    assert "Zeppelin" in first.reasoning
    assert "Zeppelin" not in str(kept)
    assert "Zeppelin" not in str(mine.remote.chats[1])


async def test_many_conversations_are_answered_side_by_side(tmp_path: Path) -> None:
    stream = replace(answer_of("After 1800 seconds [1]."), waits=True)
    async with product(tmp_path, stream) as made, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(made.ask)
        await made.remote.until(lambda: made.remote.most_at_once == 4)
        made.remote.go_on()


async def test_where_code_goes_is_told_and_the_key_is_not(tmp_path: Path) -> None:
    async with product(tmp_path) as made:
        response = await made.http.get("/models")
        doors = [response.text, (await made.http.get("/readyz")).text]
        cleared = await made.http.delete("/chat/history")

    chosen = next(each for each in response.json() if each["selected"])
    view = ModelView.model_validate(chosen)
    assert (view.name, view.address, view.installed) == (MODEL, made.remote.url, False)
    assert [each["name"] for each in response.json()] == [MODEL]  # none of those here can be chosen
    assert KEY not in "".join(doors)
    assert "127.0.0.1" in HistoryClearedResponse.model_validate_json(cleared.content).remains


async def test_the_salt_is_a_secret_that_stays_the_same(tmp_path: Path) -> None:
    salts = []
    for _ in range(2):
        async with product(tmp_path) as made:
            await made.ask()
            salts.append(made.remote.chats[0]["cache_salt"])
    file = tmp_path / "home" / "cache-salt"

    assert salts == [file.read_text()] * 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_nothing_of_a_question_is_sent_while_it_is_typed(tmp_path: Path) -> None:
    async with product(tmp_path) as made:
        await made.http.post("/chat/prefetch", json={"text": QUESTION})
        await made.remote.until(lambda: made.remote.asked["/v1/models"] == 1)
        await made.ask("Who renews it?")

    assert QUESTION not in str([each.body for each in made.remote.received])
    # What is read ahead is found by prompts that end with a made-up question.
    assert "Question: A'" not in str([each.body for each in made.remote.received])
