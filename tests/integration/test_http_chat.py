"""Questions, answers, streams and what is kept of them, over real HTTP."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

import anyio
import httpx2
import pytest
from pydantic import BaseModel
from pydantic_core import from_json

from coding_assistant.contract import (
    ChatContextResponse,
    ChatHistoryResponse,
    ConversationView,
    ErrorEvent,
    GenerationView,
    HistoryClearedResponse,
    HitView,
    IndexReport,
    ModelView,
    ProjectView,
    QueryResponse,
    SessionView,
    StartedEvent,
    TextEvent,
)
from coding_assistant.domain import Finish
from coding_assistant.errors import EngineDied, NotEnoughMemory
from coding_assistant.web.problems import Problem
from support.http_server import Served, served
from support.scripted_engine import Script, ScriptedEngine

pytestmark = pytest.mark.anyio

QUESTION = "When does a session expire?"
ANSWER = "A session expires after thirty minutes [1]."

View = TypeVar("View", bound=BaseModel)


async def ask(server: Served, query: str = QUESTION, **fields: object) -> QueryResponse:
    response = await server.http.post("/chat/query", json={"query": query, **fields})
    assert response.status_code == 200, response.text
    return QueryResponse.model_validate_json(response.content)


async def get(server: Served, kind: type[View], path: str, **parameters: str | int) -> View:
    response = await server.http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return kind.model_validate_json(response.content)


async def get_all(server: Served, kind: type[View], path: str, **parameters: str) -> list[View]:
    response = await server.http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return [kind.model_validate(each) for each in from_json(response.content)]


async def history(server: Served, conversation_id: str, **more: str | int) -> ChatHistoryResponse:
    return await get(server, ChatHistoryResponse, "/chat/history", conversation_id=conversation_id, **more)


def asking(server: Served) -> AbstractAsyncContextManager[httpx2.Response]:
    return server.http.stream("POST", "/chat/query", json={"query": QUESTION, "stream": True})


def code_of(response: httpx2.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return Problem.model_validate_json(response.content).code


async def started_of(events: AsyncIterator[httpx2.ServerSentEvent]) -> StartedEvent:
    event = await anext(events)
    assert (event.event, event.id) == ("started", "1")
    return StartedEvent.model_validate_json(event.data)


def pieces_of(events: Iterable[httpx2.ServerSentEvent]) -> str:
    return "".join(TextEvent.model_validate_json(each.data).text for each in events if each.event == "text")


async def text_of(server: Served, generation_id: str, *, after: int) -> tuple[list[int], str]:
    """Return the numbers of the events behind one, and the text in them."""
    path = f"/chat/generation/{generation_id}/events"
    async with server.http.stream("GET", path, headers={"Last-Event-ID": str(after)}) as response:
        events = [event async for event in httpx2.EventSource(response)]
    return [int(event.id) for event in events], pieces_of(events)


# --- Whole answers ------------------------------------------------------------------------------


async def test_an_answer_is_cited_and_kept(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine(ANSWER)) as server:
        answer = await ask(server)
        assert (answer.response, answer.finish_reason) == (ANSWER, Finish.COMPLETE)
        assert [(each.path, each.verified) for each in answer.citations] == [("sessions.py", True)]
        assert answer.receipt is not None

        kept = await history(server, answer.conversation_id)
        assert [each.content for each in kept.messages] == [QUESTION, ANSWER]
        context = await get(
            server, ChatContextResponse, "/chat/context", conversation_id=answer.conversation_id
        )
        assert (context.message_count, context.last_query, context.last_response) == (2, QUESTION, ANSWER)


async def test_history_is_paged_from_its_end(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine("One.", "Two.")) as server:
        first = await ask(server)
        await ask(server, "And then?", conversation_id=first.conversation_id)
        newest = await history(server, first.conversation_id, limit=2)
        assert [each.content for each in newest.messages] == ["And then?", "Two."]
        assert newest.total_count == 4
        before = await history(server, first.conversation_id, before=newest.messages[0].id)
        assert [each.content for each in before.messages] == [QUESTION, "One."]


async def test_ids_decide_where_a_question_belongs(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine()) as server:
        first = await ask(server)
        sibling = await ask(server, session_id=first.session_id)
        follow_up = await ask(server, conversation_id=first.conversation_id)
        stranger = await ask(server)
        assert sibling.session_id == first.session_id
        assert sibling.conversation_id != first.conversation_id
        assert follow_up.conversation_id == first.conversation_id
        assert stranger.session_id != first.session_id

        elsewhere = {"session_id": stranger.session_id, "conversation_id": first.conversation_id}
        response = await server.http.post("/chat/query", json={"query": QUESTION, **elsewhere})
        assert (response.status_code, code_of(response)) == (409, "conversation_elsewhere")


@pytest.mark.parametrize(
    "fields", [{"session_id": "0" * 32}, {"conversation_id": "0" * 32}, {"project": "x"}]
)
async def test_unknown_ids_are_not_found(tmp_path: Path, fields: dict[str, str]) -> None:
    async with served(tmp_path, ScriptedEngine()) as server:
        response = await server.http.post("/chat/query", json={"query": QUESTION, "stream": True, **fields})
        assert response.status_code == 404
        assert code_of(response).endswith("_not_found")


@pytest.mark.parametrize("query", ["", "   ", "x" * 100_000, "a\0b"])
async def test_a_text_that_is_none_is_refused(tmp_path: Path, query: str) -> None:
    async with served(tmp_path, ScriptedEngine()) as server:
        response = await server.http.post("/chat/query", json={"query": query})
        assert (response.status_code, code_of(response)) == (422, "invalid_text")


async def test_an_engine_that_fails_is_told_by_status_and_kept(tmp_path: Path) -> None:
    engine = ScriptedEngine(
        Script("It is so", fails=EngineDied("It died.", hint="Ask again."), fails_after=2)
    )
    async with served(tmp_path, engine) as server:
        response = await server.http.post("/chat/query", json={"query": QUESTION})
        assert (response.status_code, code_of(response)) == (503, "engine_died")
        (conversation,) = await get_all(server, ConversationView, "/chat/conversations")
        kept = await history(server, conversation.conversation_id)
        assert [each.content for each in kept.messages] == [QUESTION, "It is"]
        assert kept.messages[1].finish_reason is Finish.FAILED


# --- Streams ------------------------------------------------------------------------------------


async def test_a_stream_is_the_answer_in_pieces(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine(ANSWER)) as server, asking(server) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        events = [event async for event in httpx2.EventSource(response)]
        assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
        assert pieces_of(events) == ANSWER
        names = [event.event for event in events]
        assert names[0] == "started"
        assert names.index("sources") < names.index("reading") < names.index("text") < names.index("citation")
        whole = QueryResponse.model_validate_json(events[-1].data)
        assert (names[-1], whole.response) == ("finished", ANSWER)


async def test_a_failure_is_the_last_event_of_a_stream(tmp_path: Path) -> None:
    engine = ScriptedEngine(load_fails=NotEnoughMemory("It does not fit.", hint="Take a smaller one."))
    async with served(tmp_path, engine) as server, asking(server) as response:
        if response.status_code == 200:
            last = [event async for event in httpx2.EventSource(response)][-1]
            assert last.event == "error"
            assert ErrorEvent.model_validate_json(last.data).code == "not_enough_memory"
        else:
            await response.aread()
            assert (response.status_code, code_of(response)) == (503, "not_enough_memory")


async def test_a_reader_who_leaves_and_comes_back_misses_nothing(tmp_path: Path) -> None:
    engine = ScriptedEngine(Script(ANSWER, waits=True))
    async with served(tmp_path, engine) as server:
        async with asking(server) as response:
            started = await started_of(aiter(httpx2.EventSource(response)))
        await engine.waiting.wait()
        engine.go_on()
        numbers, text = await text_of(server, started.generation_id, after=1)
        assert numbers == list(range(2, numbers[-1] + 1))
        assert text == ANSWER

        state = await get(server, GenerationView, f"/chat/generation/{started.generation_id}")
        assert (state.state, state.last_event_id) == ("finished", numbers[-1])
        nothing = await server.http.get(
            f"/chat/generation/{started.generation_id}/events", params={"after": numbers[-1]}
        )
        assert (nothing.status_code, nothing.content) == (204, b"")


async def test_an_answer_of_before_a_restart_is_told_to_whoever_comes_back(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine(ANSWER)) as server:
        answered = await ask(server)
    path = f"/chat/generation/{answered.message_id.removesuffix('-a')}/events"
    async with served(tmp_path, ScriptedEngine()) as server:

        async def told(headers: dict[str, str]) -> list[httpx2.ServerSentEvent]:
            async with server.http.stream("GET", path, headers=headers) as response:
                assert response.status_code == 200
                return [event async for event in httpx2.EventSource(response)]

        replayed = await told({})
        assert [event.event for event in replayed] == ["started", "sources", "text", "finished"]
        (last,) = await told({"Last-Event-ID": "3"})
        assert last.event == "finished"
        assert QueryResponse.model_validate_json(last.data) == answered
        seen_all = await server.http.get(path, headers={"Last-Event-ID": last.id})
        assert seen_all.status_code == 204


async def test_an_answer_goes_on_without_the_asker_who_waited_for_all_of_it(tmp_path: Path) -> None:
    engine = ScriptedEngine(Script(ANSWER, waits=True))
    async with served(tmp_path, engine) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, server)
            await engine.waiting.wait()
            tasks.cancel_scope.cancel()
        engine.go_on()
        (conversation,) = await get_all(server, ConversationView, "/chat/conversations")
        kept = await history(server, conversation.conversation_id)
        await text_of(server, kept.messages[0].id.removesuffix("-q"), after=0)
        kept = await history(server, conversation.conversation_id)
        assert [each.content for each in kept.messages] == [QUESTION, ANSWER]


async def test_cancelling_keeps_what_there_is(tmp_path: Path) -> None:
    engine = ScriptedEngine(Script(ANSWER, waits=True))
    async with served(tmp_path, engine) as server, asking(server) as response:
        events = aiter(httpx2.EventSource(response))
        started = await started_of(events)
        await engine.waiting.wait()
        busy = await server.http.post(
            "/chat/query", json={"query": "And?", "conversation_id": started.conversation_id}
        )
        assert (busy.status_code, code_of(busy)) == (409, "conversation_busy")
        cancelled = await server.http.delete(f"/chat/generation/{started.generation_id}")
        assert cancelled.status_code == 204
        last = [event async for event in events][-1]
        assert last.event == "finished"
        assert QueryResponse.model_validate_json(last.data).finish_reason is Finish.CANCELLED
        state = await get(server, GenerationView, f"/chat/generation/{started.generation_id}")
        assert state.state == "cancelled"


async def test_an_unknown_answer_can_be_neither_followed_nor_cancelled(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine()) as server:
        path = f"/chat/generation/{'0' * 32}"
        for response in [
            await server.http.get(path),
            await server.http.get(f"{path}/events"),
            await server.http.delete(path),
        ]:
            assert (response.status_code, code_of(response)) == (404, "generation_not_found")


# --- Sessions and conversations -----------------------------------------------------------------


async def test_sessions_hold_conversations(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine()) as server:
        first = await ask(server)
        await ask(server, session_id=first.session_id)
        session = await get(server, SessionView, f"/chat/session/{first.session_id}")
        assert session.conversation_count == 2
        assert await get_all(server, SessionView, "/chat/sessions") == [session]
        path = f"/chat/session/{first.session_id}/conversations"
        within = await get_all(server, ConversationView, path)
        assert first.conversation_id in [each.conversation_id for each in within]

        cleared = await server.http.post("/chat/session/clear", json={"session_id": first.session_id})
        assert HistoryClearedResponse.model_validate_json(cleared.content) == HistoryClearedResponse(
            cleared_conversations=2, cleared_messages=4
        )
        gone = await server.http.get(f"/chat/session/{first.session_id}")
        assert (gone.status_code, code_of(gone)) == (404, "session_not_found")


async def test_a_conversation_is_renamed_found_exported_and_deleted(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine(ANSWER)) as server:
        asked = await ask(server)
        path = f"/chat/conversation/{asked.conversation_id}"
        changed = await server.http.patch(path, json={"title": "Expiry", "pinned": True})
        conversation = ConversationView.model_validate_json(changed.content)
        assert (conversation.title, conversation.pinned, conversation.archived) == ("Expiry", True, False)
        assert await get(server, ConversationView, path) == conversation

        listed = "/chat/conversations"
        assert await get_all(server, ConversationView, listed, containing="thirty") == [conversation]
        assert await get_all(server, ConversationView, listed, containing="zebra") == []

        markdown = await server.http.get(f"{path}/export", params={"format": "md"})
        assert markdown.headers["content-type"].startswith("text/markdown")
        assert asked.conversation_id in markdown.headers["content-disposition"]
        assert QUESTION in markdown.text
        assert ANSWER in markdown.text
        as_json = await server.http.get(f"{path}/export", params={"format": "json"})
        assert QUESTION in str(as_json.json())

        assert (await server.http.delete(path)).status_code == 204
        gone = await server.http.get(path)
        assert (gone.status_code, code_of(gone)) == (404, "conversation_not_found")


async def test_clearing_says_how_much_was_cleared(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine()) as server:
        first, _second = await ask(server), await ask(server)
        one = await server.http.delete("/chat/history", params={"conversation_id": first.conversation_id})
        assert one.json() == {"cleared_conversations": 1, "cleared_messages": 2, "remains": ""}
        everything = await server.http.delete("/chat/history")
        assert HistoryClearedResponse.model_validate_json(everything.content).cleared_messages == 2
        left = await get_all(server, ConversationView, "/chat/conversations")
        assert [each.message_count for each in left] == [0, 0]


# --- Projects, search, models, health -----------------------------------------------------------


async def test_a_project_is_made_known_indexed_and_searched(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "tides.py").write_text("def high_tide(moon):\n    return moon.age % 12\n")
    async with served(tmp_path, ScriptedEngine()) as server:
        made = await server.http.post("/projects", json={"root": str(other)})
        again = await server.http.post("/projects", json={"root": str(other)})
        assert made.content == again.content
        project = ProjectView.model_validate_json(made.content)
        assert project.id in [each.id for each in await get_all(server, ProjectView, "/projects")]

        indexed = await server.http.post(f"/projects/{project.id}/index")
        report = IndexReport.model_validate_json(indexed.content)
        assert (report.project, report.files) == ("other", 1)
        known = await get(server, ProjectView, f"/projects/{project.id}")
        assert known.indexed
        assert (known.embedder, known.embedded) == ("static", known.chunks)
        named = await get_all(server, HitView, "/search", q="high tide", project="other")
        assert [each.path for each in named] == ["tides.py"]
        default = await get_all(server, HitView, "/search", q="session expired")
        assert "sessions.py" in [each.path for each in default]
        refused = await server.http.get("/search", params={"q": " "})
        assert (refused.status_code, refused.json()["detail"]) == (422, "The query is empty.")


async def test_indexing_can_be_watched(tmp_path: Path) -> None:
    async with (
        served(tmp_path, ScriptedEngine()) as server,
        server.http.stream(
            "POST", f"/projects/{server.project}/index", headers={"Accept": "text/event-stream"}
        ) as response,
    ):
        events = [event async for event in httpx2.EventSource(response)]
        assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
        assert {event.event for event in events[:-1]} == {"indexing"}
        assert events[-1].event == "finished"
        assert IndexReport.model_validate_json(events[-1].data).files == 1


@pytest.mark.parametrize("name", ["missing", "a-file"])
async def test_a_folder_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").touch()
    async with served(tmp_path, ScriptedEngine()) as server:
        response = await server.http.post("/projects", json={"root": str(tmp_path / name)})
        assert (response.status_code, code_of(response)) == (422, "invalid_project")


@pytest.mark.parametrize("root", [".", "shop", "~", "~/shop"])
async def test_a_folder_that_is_not_named_by_its_whole_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with served(tmp_path, ScriptedEngine()) as server:
        response = await server.http.post("/projects", json={"root": root})
        assert (response.status_code, code_of(response)) == (422, "invalid_project")
        assert "absolute" in response.json()["detail"]


async def test_models_and_health(tmp_path: Path) -> None:
    async with served(tmp_path, ScriptedEngine()) as server:
        assert "phi3-mini" in [each.name for each in await get_all(server, ModelView, "/models")]
        assert (await server.http.get("/healthz")).json() == {"status": "ok"}
        ready = await server.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})
