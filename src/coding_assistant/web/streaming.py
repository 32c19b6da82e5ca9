"""Event generators as server-sent events.

A question is refused at its first event, so that one is pulled before the response starts: a refusal has
a status of its own. The generator is closed as soon as the reader leaves, stops reading, or the server
stops; what closing means is the generator's business.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from coding_assistant.contract import ErrorEvent, IndexingEvent, IndexReport, StreamEvent
from coding_assistant.errors import CodingAssistantError
from coding_assistant.web.problems import INTERNAL_FAULT, log_unexpected
from coding_assistant.web.stopping import STOPPING

MEDIA_TYPE = "text/event-stream"

HEARTBEAT_SECONDS = 15.0
"""Proxies close a connection that is silent for 30 to 60 seconds; loading a model can take longer."""

SEND_PATIENCE_SECONDS = 30.0
"""A reader that takes nothing for so long has stopped reading; megabytes are waiting for it by then."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event on the wire."""

    id: int
    name: str
    data: BaseModel

    def encoded(self) -> bytes:
        """Return the lines of the event."""
        return format_sse_event(data_str=self.data.model_dump_json(), event=self.name, id=str(self.id))


class EventStream(StreamingResponse):
    """A response that sends events until they end, the reader is gone, or the server stops."""

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncGenerator[ServerEvent, None]) -> None:
        self._events = events
        # a proxy that collects the stream would deliver it in one piece at its end
        super().__init__((), headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; ``app.state.stopping`` is set when the server begins to stop."""
        stopping: anyio.Event = scope["app"].state.stopping
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with anyio.create_task_group() as tasks:
            writer = _Writer(send, tasks)
            tasks.start_soon(_leave_on_disconnect, receive, tasks)
            tasks.start_soon(writer.beat)
            last_id = 0
            with anyio.CancelScope() as following:
                tasks.start_soon(_leave_on_stop, stopping, following)
                # closed inside the scopes in which it was begun: it may hold some of its own
                async with aclosing(self._events) as events:
                    async for event in events:
                        await writer.write(event.encoded())
                        last_id = event.id
            if following.cancelled_caught:
                await writer.write(ServerEvent(last_id, "error", STOPPING).encoded())
            await writer.write(b"", more=False)
            tasks.cancel_scope.cancel()


class _Writer:
    """Writes events and heartbeats one after the other, and gives up on a reader that stopped reading."""

    def __init__(self, send: Send, tasks: TaskGroup) -> None:
        self._send = send
        self._tasks = tasks
        self._turn = anyio.Lock()

    async def write(self, chunk: bytes, *, more: bool = True) -> None:
        async with self._turn:
            with anyio.move_on_after(SEND_PATIENCE_SECONDS) as patience:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        if patience.cancelled_caught:
            self._tasks.cancel_scope.cancel()

    async def beat(self) -> None:
        while True:
            await anyio.sleep(HEARTBEAT_SECONDS)
            await self.write(KEEPALIVE_COMMENT)


async def _leave_on_disconnect(receive: Receive, tasks: TaskGroup) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    tasks.cancel_scope.cancel()


async def _leave_on_stop(stopping: anyio.Event, following: anyio.CancelScope) -> None:
    await stopping.wait()
    following.cancel()


async def stream_answer(events: AsyncGenerator[StreamEvent, None]) -> EventStream:
    """Return the response that sends an answer's events; raise what its first step refuses.

    The generator must hold no cancel scope open over its first event, for others are opened after it.
    """
    numbered = _answer_events(events)
    first = await anext(numbered)
    return EventStream(_continued(first, numbered))


def stream_rest(events: AsyncGenerator[StreamEvent, None]) -> EventStream:
    """Return the response that sends what is still to come of an answer; it may be nothing for a while."""
    return EventStream(_with_failure(_answer_events(events), last_id=0))


def stream_index(events: AsyncGenerator[IndexingEvent | IndexReport, None]) -> EventStream:
    """Return the response that sends the progress of an index, and at last its report."""
    return EventStream(_with_failure(_index_events(events), last_id=0))


async def report_of(events: AsyncGenerator[IndexingEvent | IndexReport, None]) -> IndexReport:
    """Let the index be updated and return only the report."""
    async with aclosing(events):
        (report,) = [event async for event in events if isinstance(event, IndexReport)]
    return report


async def _continued(
    first: ServerEvent, events: AsyncGenerator[ServerEvent, None]
) -> AsyncGenerator[ServerEvent, None]:
    async with aclosing(_with_failure(events, last_id=first.id)) as rest:
        yield first
        async for event in rest:
            yield event


async def _with_failure(
    events: AsyncGenerator[ServerEvent, None], *, last_id: int
) -> AsyncGenerator[ServerEvent, None]:
    """Pass events on; what is raised now can have no status any more and becomes the last event.

    It repeats the id before it, so that a reader who comes back asks for what it has not seen.
    """
    async with aclosing(events):
        try:
            async for event in events:
                last_id = event.id
                yield event
        except CodingAssistantError as error:
            failure = ErrorEvent(code=error.code, detail=error.message, hint=error.hint)
            yield ServerEvent(last_id, "error", failure)
        except Exception as error:  # noqa: BLE001  -- an edge: past it, the stream would end without a word
            log_unexpected(error)
            yield ServerEvent(last_id, "error", INTERNAL_FAULT)


async def _answer_events(events: AsyncGenerator[StreamEvent, None]) -> AsyncGenerator[ServerEvent, None]:
    async with aclosing(events):
        async for event in events:
            yield ServerEvent(event.id, event.name, event.data)


async def _index_events(
    events: AsyncGenerator[IndexingEvent | IndexReport, None],
) -> AsyncGenerator[ServerEvent, None]:
    number = 0
    async with aclosing(events):
        async for event in events:
            number += 1
            yield ServerEvent(number, "finished" if isinstance(event, IndexReport) else "indexing", event)
