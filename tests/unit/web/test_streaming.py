from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import anyio
import pytest
from fastapi import FastAPI
from fastapi.responses import Response
from starlette.types import Message

from coding_assistant.contract import (
    ErrorEvent,
    IndexingEvent,
    IndexReport,
    LoadingEvent,
    StreamEvent,
    TextEvent,
)
from coding_assistant.domain import Indexed
from coding_assistant.errors import EngineDied, ModelMissing
from coding_assistant.web import streaming
from coding_assistant.web.problems import answer_with_problems
from coding_assistant.web.streaming import report_of, stream_answer, stream_index, stream_rest
from support.asgi import HOST, call, scope_of

pytestmark = pytest.mark.anyio

Events = AsyncGenerator[StreamEvent, None]

REPORT = IndexReport(project="p", files=1, chunks=2, changed=1, removed=0, skipped={}, seconds=0.5)
TEXT = StreamEvent(id=4, data=TextEvent(text="two\nlines \u2028 and é"))
FAILED = ErrorEvent(code="engine_died", detail="It died.", hint="Ask again.")


@dataclass
class Reader:
    """Reads a response as it comes, and can leave or stop reading."""

    body: bytes = b""
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    is_reading: bool = True
    has_left: anyio.Event = field(default_factory=anyio.Event)
    seen: Callable[[bytes], None] = lambda _body: None

    async def receive(self) -> Message:
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        if not self.is_reading:
            await anyio.sleep_forever()
        self.body += message["body"]
        self.seen(self.body)


def make_app(events: Events) -> FastAPI:
    app = FastAPI()
    app.state.stopping = anyio.Event()
    answer_with_problems(app)

    @app.get("/", response_model=None)
    async def answer() -> Response:
        return await stream_answer(events)

    return app


class Source:
    """Gives one event and then waits; remembers that it was closed."""

    def __init__(self) -> None:
        self.was_closed = False

    async def events(self) -> Events:
        try:
            yield TEXT
            await anyio.sleep_forever()
        finally:
            self.was_closed = True


async def scripted(*steps: StreamEvent | Exception) -> Events:
    for step in steps:
        if isinstance(step, Exception):
            raise step
        yield step


async def test_events_are_lines_with_numbers_and_names() -> None:
    answer = await call(
        make_app(scripted(TEXT, StreamEvent(id=5, data=FAILED))), scope_of("GET", "/", [HOST])
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    first, second, nothing = answer.body.decode().split("\n\n")
    assert sorted(first.split("\n")) == [
        'data: {"text":"two\\nlines \u2028 and é"}',
        "event: text",
        "id: 4",
    ]
    assert second.startswith("event: error\n")
    assert nothing == ""


async def test_a_refusal_before_the_first_event_has_its_status() -> None:
    answer = await call(make_app(scripted(ModelMissing("No model."))), scope_of("GET", "/", [HOST]))
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")


@pytest.mark.parametrize(
    ("error", "code"), [(EngineDied("It died."), "engine_died"), (ValueError("private"), "internal")]
)
async def test_a_failure_after_the_first_event_is_the_last_event(error: Exception, code: str) -> None:
    reader = Reader()
    await make_app(scripted(TEXT, error))(scope_of("GET", "/", [HOST]), reader.receive, reader.send)
    last = reader.body.decode().split("\n\n")[-2]
    assert "event: error" in last
    assert f'"code":"{code}"' in last
    assert "id: 4" in last
    assert "private" not in last


async def test_closes_the_events_when_the_reader_leaves() -> None:
    source, reader = Source(), Reader()
    reader.seen = lambda _body: reader.has_left.set()
    await make_app(source.events())(scope_of("GET", "/", [HOST]), reader.receive, reader.send)
    assert source.was_closed
    assert b"error" not in reader.body


async def test_closes_the_events_when_the_reader_stops_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SEND_PATIENCE_SECONDS", 0.01)
    source, reader = Source(), Reader(is_reading=False)
    await make_app(source.events())(scope_of("GET", "/", [HOST]), reader.receive, reader.send)
    assert source.was_closed


async def test_says_goodbye_and_closes_the_events_when_the_server_stops() -> None:
    source, reader = Source(), Reader()
    app = make_app(source.events())
    reader.seen = lambda _body: app.state.stopping.set()
    await app(scope_of("GET", "/", [HOST]), reader.receive, reader.send)
    assert source.was_closed
    assert '"code":"server_stopping"' in reader.body.decode().split("\n\n")[-2]


async def test_a_silent_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.001)
    source, reader = Source(), Reader()

    def leave(body: bytes) -> None:
        if body.count(b"\n\n: ") >= 3:
            reader.has_left.set()

    reader.seen = leave
    await make_app(source.events())(scope_of("GET", "/", [HOST]), reader.receive, reader.send)
    assert source.was_closed


async def test_the_rest_of_an_answer_may_be_nothing_yet() -> None:
    reader = Reader()
    app = FastAPI()
    app.state.stopping = anyio.Event()
    events = scripted(StreamEvent(id=9, data=LoadingEvent(model="m")))
    app.get("/", response_model=None)(lambda: stream_rest(events))
    await app(scope_of("GET", "/", [HOST]), reader.receive, reader.send)
    assert b"id: 9" in reader.body


async def index_events() -> AsyncGenerator[IndexingEvent | IndexReport, None]:
    yield IndexingEvent(what=Indexed.FILES, done=1, total=2)
    yield REPORT


async def test_the_progress_of_an_index_is_numbered_and_ends_with_its_report() -> None:
    app = FastAPI()
    app.state.stopping = anyio.Event()

    @app.get("/", response_model=None)
    async def index() -> Response:
        return stream_index(index_events())

    body = (await call(app, scope_of("GET", "/", [HOST]))).body.decode()
    assert [line for line in body.split("\n") if line.startswith(("id", "event"))] == [
        "event: indexing",
        "id: 1",
        "event: finished",
        "id: 2",
    ]


async def test_the_report_alone() -> None:
    assert await report_of(index_events()) == REPORT
