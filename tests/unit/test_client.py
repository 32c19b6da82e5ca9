import json
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from coding_assistant import client
from coding_assistant.client import RemoteAssistant
from coding_assistant.contract import (
    ConversationPatch,
    ErrorEvent,
    FoundMessageView,
    IndexingEvent,
    IndexReport,
    PrefetchRequest,
    QueryRequest,
    QueryResponse,
    ReadingEvent,
    StreamEvent,
    TextEvent,
)
from coding_assistant.domain import Indexed, SearchMode
from coding_assistant.errors import (
    CodingAssistantError,
    ConversationElsewhere,
    DiskFull,
    EngineBusy,
    GenerationNotFound,
    InvalidProject,
    NotReady,
    ProjectNotFound,
)
from support import views
from support.scripted_server import (
    ScriptedServer,
    answer,
    event_stream,
    json_answer,
    problem,
    scripted_server,
)

pytestmark = pytest.mark.anyio

QUESTION = QueryRequest(query="Where is it decided?")
STARTED = (1, "started", views.STARTED)
FINISHED = (9, "finished", views.response())


@asynccontextmanager
async def silent_server() -> AsyncGenerator[str, None]:
    """Take connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def text(number: int, said: str) -> tuple[int, str, TextEvent]:
    return number, "text", TextEvent(text=said)


async def asked(answers: Sequence[bytes]) -> tuple[list[StreamEvent], ScriptedServer]:
    async with (
        scripted_server(answers) as server,
        RemoteAssistant(server.url, retry_pauses_seconds=(0, 0)) as remote,
    ):
        return [event async for event in remote.ask(QUESTION)], server


async def test_a_question_is_streamed_whatever_the_request_says() -> None:
    events, server = await asked([event_stream(STARTED, text(2, "It "), text(3, "is."), FINISHED)])
    assert [event.id for event in events] == [1, 2, 3, 9]
    assert [event.data.text for event in events if isinstance(event.data, TextEvent)] == ["It ", "is."]
    assert events[-1].data == views.response()
    (request,) = server.received
    assert (request.method, request.target) == ("POST", "/chat/query")
    assert json.loads(request.body) == {"query": QUESTION.query, "stream": True}


async def test_a_stream_that_breaks_is_taken_up_after_the_last_event_seen() -> None:
    events, server = await asked(
        [
            event_stream(STARTED, text(2, "It "), cut=b"id: 3\nevent: text\nda"),
            event_stream(text(3, "is.")),
            event_stream(FINISHED),
        ]
    )
    assert [event.id for event in events] == [1, 2, 3, 9]
    again = server.received[1:]
    assert {request.target for request in again} == {f"/chat/generation/{views.STARTED.generation_id}/events"}
    assert [request.headers["last-event-id"] for request in again] == ["2", "3"]


async def test_a_question_whose_connection_broke_is_sent_once_more_as_the_same_one() -> None:
    events, server = await asked([event_stream(), event_stream(STARTED, FINISHED)])
    assert [event.id for event in events] == [1, 9]
    first, second = server.received
    assert (first.method, first.target, first.body) == (second.method, second.target, second.body)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] != ""


async def test_a_question_that_never_arrives_is_given_up_on() -> None:
    async with scripted_server([event_stream()] * 3) as server:
        async with RemoteAssistant(server.url, retry_pauses_seconds=(0, 0)) as remote:
            with pytest.raises(NotReady):
                await anext(remote.ask(QUESTION))
        assert len(server.received) == 2


async def test_each_question_has_a_key_of_its_own() -> None:
    answers = [event_stream(STARTED, FINISHED)] * 2
    async with scripted_server(answers) as server, RemoteAssistant(server.url) as remote:
        for _ in answers:
            assert [event.id async for event in remote.ask(QUESTION)] == [1, 9]
    assert len({request.headers["idempotency-key"] for request in server.received}) == 2


async def test_a_server_that_hangs_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.01)
    async with silent_server() as url, RemoteAssistant(url, retry_pauses_seconds=(600,)) as remote:
        with pytest.raises(NotReady, match="has said nothing"):
            await anext(remote.ask(QUESTION))


async def test_a_server_that_stays_away_is_given_up_on() -> None:
    with pytest.raises(NotReady, match="does not answer") as caught:
        await asked([event_stream(STARTED)])
    assert "server" in caught.value.hint


async def test_an_answer_that_is_forgotten_meanwhile_is_said_to_be() -> None:
    gone = problem(404, code="generation_not_found", detail="No such answer.")
    with pytest.raises(GenerationNotFound):
        await asked([event_stream(STARTED), gone])


async def test_events_of_a_newer_server_are_passed_over() -> None:
    events, _ = await asked([event_stream(STARTED, (2, "thinking", TextEvent(text="?")), FINISHED)])
    assert [event.id for event in events] == [1, 9]


async def test_an_answer_that_failed_ends_with_its_error() -> None:
    failed = ErrorEvent(code="engine_died", detail="It died.", hint="Ask again.")
    events, _ = await asked([event_stream(STARTED, (2, "error", failed))])
    assert events[-1].data == failed


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "project_not_found", ProjectNotFound),
        (409, "conversation_elsewhere", ConversationElsewhere),
        (503, "engine_busy", EngineBusy),
        (507, "disk_full", DiskFull),
        (500, "some_later_kind", CodingAssistantError),
    ],
)
async def test_a_refusal_arrives_as_the_exception_that_was_raised(
    status: int, code: str, expected: type[CodingAssistantError]
) -> None:
    refused = problem(status, code=code, detail="It cannot be.", hint="Do this.")
    async with scripted_server([refused, refused]) as server, RemoteAssistant(server.url) as remote:
        for call in (remote.projects(), anext(remote.ask(QUESTION))):
            with pytest.raises(CodingAssistantError) as caught:
                await call
            assert type(caught.value) is expected
            assert (caught.value.message, caught.value.hint) == ("It cannot be.", "Do this.")


async def test_something_else_on_the_port_is_no_crash() -> None:
    page = answer(200, b"<html>", content_type="text/html")
    missing = answer(404, b"<html>", content_type="text/html")
    async with scripted_server([page, missing]) as server, RemoteAssistant(server.url) as remote:
        with pytest.raises(CodingAssistantError, match="cannot be understood"):
            await remote.projects()
        with pytest.raises(CodingAssistantError, match="404"):
            await remote.projects()


async def test_nobody_there_is_not_ready() -> None:
    async with scripted_server([]) as server:
        pass
    async with RemoteAssistant(server.url) as remote:
        with pytest.raises(NotReady):
            await remote.models()


async def test_an_index_tells_its_progress_and_ends_with_the_report() -> None:
    progress = IndexingEvent(what=Indexed.VECTORS, done=1, total=2)
    report = IndexReport(project="p", files=2, chunks=5, changed=2, removed=0, skipped={}, seconds=0.5)
    answers = [event_stream((1, "indexing", progress), (2, "finished", report))]
    async with scripted_server(answers) as server, RemoteAssistant(server.url) as remote:
        assert [event async for event in remote.index("a name/odd")] == [progress, report]
    assert server.received[0].target == "/projects/a%20name%2Fodd/index"
    assert "text/event-stream" in server.received[0].headers["accept"]


async def test_an_index_that_fails_raises_its_error() -> None:
    failed = ErrorEvent(code="disk_full", detail="No space is left.", hint="Free some.")
    async with (
        scripted_server([event_stream((1, "error", failed))]) as server,
        RemoteAssistant(server.url) as remote,
    ):
        with pytest.raises(DiskFull, match="No space"):
            await anext(remote.index("p"))


async def test_what_is_asked_for_reaches_the_server() -> None:
    answers = [
        json_answer([views.hit()]),
        json_answer([views.conversation()]),
        json_answer(views.conversation()),
        answer(204, b""),
        answer(200, b"# Where?\n", content_type="text/markdown"),
    ]
    async with scripted_server(answers) as server, RemoteAssistant(server.url) as remote:
        assert await remote.search("a & b", project="p", limit=3, mode=SearchMode.TEXT) == [views.hit()]
        assert await remote.conversations(containing="why?") == [views.conversation()]
        patch = ConversationPatch(pinned=True)
        assert await remote.change_conversation("c", patch) == views.conversation()
        await remote.cancel("g")
        assert await remote.export_conversation("c", form="md") == "# Where?\n"
    assert [(request.method, request.target) for request in server.received] == [
        ("GET", "/search?q=a+%26+b&project=p&limit=3&mode=text"),
        ("GET", "/chat/conversations?containing=why%3F"),
        ("PATCH", "/chat/conversation/c"),
        ("DELETE", "/chat/generation/g"),
        ("GET", "/chat/conversation/c/export?format=md"),
    ]
    assert json.loads(server.received[2].body) == {"pinned": True}


async def test_what_is_put_away_and_carried_elsewhere_reaches_the_server() -> None:
    conversation = json_answer(views.conversation())
    found = FoundMessageView(
        conversation_id="c", project_id="p", title="?", message_id="t-q", role="user",
        said_at=views.conversation().created_at, snippet="Who pays?",
    )  # fmt: skip
    answers = [
        json_answer([views.conversation()]),
        json_answer([found]),
        answer(204, b""),
        answer(204, b""),
        conversation,
        conversation,
        answer(202, b"null"),
    ]
    async with scripted_server(answers) as server, RemoteAssistant(server.url) as remote:
        assert await remote.conversations(archived=False, deleted=True) == [views.conversation()]
        assert await remote.search_messages("who", limit=3) == [found]
        await remote.delete_conversation("c")
        await remote.delete_conversation("c", permanently=True)
        assert await remote.restore_conversation("c") == views.conversation()
        assert await remote.import_conversation(b'{"a": 1}', as_copy=True) == views.conversation()
        await remote.prefetch(PrefetchRequest(text="Who p", conversation_id="c"))
    assert [(request.method, request.target) for request in server.received] == [
        ("GET", "/chat/conversations?archived=0&deleted=1"),
        ("GET", "/chat/search?q=who&limit=3"),
        ("DELETE", "/chat/conversation/c"),
        ("DELETE", "/chat/conversation/c?permanently=1"),
        ("POST", "/chat/conversation/c/restore"),
        ("POST", "/chat/import?copy=1"),
        ("POST", "/chat/prefetch"),
    ]
    assert server.received[5].body == b'{"a": 1}'
    assert {request.headers.get("content-type") for request in server.received[5:]} == {"application/json"}
    assert json.loads(server.received[6].body) == {"text": "Who p", "conversation_id": "c"}


async def test_a_refusal_says_when_to_come_back() -> None:
    busy = problem(503, code="engine_busy", detail="All are taken.")
    busy = busy.replace(b"\r\n", b"\r\nRetry-After: 17\r\n", 1)
    async with scripted_server([busy]) as server, RemoteAssistant(server.url) as remote:
        with pytest.raises(EngineBusy) as caught:
            await remote.projects()
    assert caught.value.retry_after_seconds == 17


async def test_a_proxy_of_the_environment_sees_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    events, _ = await asked([event_stream(STARTED, FINISHED)])
    assert isinstance(events[-1].data, QueryResponse)


async def test_leaving_early_is_no_error() -> None:
    reading = (2, "reading", ReadingEvent(done=1, total=9, cached=0, remaining_seconds=None))
    async with (
        scripted_server([event_stream(STARTED, reading)]) as server,
        RemoteAssistant(server.url) as remote,
    ):
        events = remote.ask(QUESTION)
        assert (await anext(events)).name == "started"
        await events.aclose()
    assert len(server.received) == 1


async def test_a_folder_whose_name_no_json_can_carry_is_refused_before_anything_is_sent() -> None:
    async with scripted_server([]) as server, RemoteAssistant(server.url) as remote:
        with pytest.raises(InvalidProject, match="not valid Unicode"):
            await remote.add_project("/srv/\udcff")
    assert server.received == []


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_server_that_says_nothing_is_given_up_after_the_time_that_is_named(
    monkeypatch: pytest.MonkeyPatch, *, streamed: bool
) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS" if streamed else "CALL_SECONDS", 0.01)
    async with silent_server() as url, RemoteAssistant(url) as remote:
        with pytest.raises(NotReady, match="for 0 seconds"):
            await (anext(remote.index("p")) if streamed else remote.projects())
