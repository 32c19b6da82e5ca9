import json

import anyio
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from coding_assistant.web import stopping
from coding_assistant.web.stopping import EndsWithServer
from support.asgi import HOST, call, scope_of

pytestmark = pytest.mark.anyio


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.arrived = anyio.Event()
        self.was_cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        self.arrived.set()
        try:
            await self.go_on.wait()
        except BaseException:
            self.was_cancelled = True
            raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def app_scope(event: anyio.Event) -> Scope:
    app = FastAPI()
    app.state.stopping = event
    return {**scope_of("GET", "/", [HOST]), "app": app}


async def test_a_request_that_finishes_in_time_is_answered() -> None:
    slow = Slow()
    slow.go_on.set()
    answer = await call(EndsWithServer(slow), app_scope(anyio.Event()))
    assert (answer.status, answer.body) == (200, b"done")


async def test_a_request_that_lingers_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0)
    slow, event = Slow(), anyio.Event()
    event.set()
    answer = await call(EndsWithServer(slow), app_scope(event))
    assert slow.was_cancelled
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert json.loads(answer.body)["code"] == "server_stopping"


async def test_a_request_that_is_nearly_done_gets_a_moment() -> None:
    slow, event = Slow(), anyio.Event()

    async def stop_and_finish() -> None:
        await slow.arrived.wait()
        event.set()
        await anyio.lowlevel.checkpoint()
        slow.go_on.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_and_finish)
        answer = await call(EndsWithServer(slow), app_scope(event))
    assert (answer.status, slow.was_cancelled) == (200, False)
