"""A real assistant with a scripted engine behind the HTTP skin: under a real server, or called directly."""

import json
import signal
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.protocols import Engine
from coding_assistant.settings import Settings
from coding_assistant.web.app import create_app
from coding_assistant.web.server import serve
from support.asgi import HOST, Answer, call, scope_of
from support.scripted_engine import by_name, only

CODE = '''"""Sessions of the shop."""


def session_expired(session, now):
    """A session ends thirty minutes after its last request."""
    return now - session.last_request > 1800


def renew(session, now):
    session.last_request = now
'''


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, a client of it, and the assistant behind it."""

    url: str
    http: httpx2.AsyncClient
    assistant: AsyncAssistant
    project: str


def make_project(folder: Path) -> Path:
    """Write a small project and return its folder."""
    root = folder / "shop"
    root.mkdir(exist_ok=True)
    (root / "sessions.py").write_text(CODE)
    return root


@dataclass(frozen=True, slots=True)
class InProcess:
    """The application without a server; calls block until the answer is there."""

    app: FastAPI
    assistant: AsyncAssistant
    project: str
    portal: BlockingPortal

    def call(
        self, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None
    ) -> Answer:
        """Return the answer to a request; its headers are all that it has, but for the body's length."""
        announced = [] if body is None else [("content-length", str(len(body)))]
        scope = scope_of(method, target, [*headers, *announced])
        answer: Answer = self.portal.call(call, self.app, scope, [body or b""])
        return answer

    def json(self, method: str, target: str, body: object = None) -> Answer:
        """Return the answer to a friendly request."""
        headers = [HOST, ("content-type", "application/json")]
        return self.call(method, target, headers, None if body is None else json.dumps(body).encode())


@contextmanager
def in_process(folder: Path, engine: Engine, *others: Engine) -> Iterator[InProcess]:
    """Hold the application over a small project; where there are others, each answers by its name."""
    with start_blocking_portal("asyncio") as portal:
        make_engine = by_name(engine, *others) if others else only(engine)
        opening = AsyncAssistant.open(Settings(home=folder / "home"), make_engine=make_engine)
        with portal.wrap_async_context_manager(opening) as assistant:
            project = portal.call(assistant.add_project, str(make_project(folder)))
            yield InProcess(create_app(assistant), assistant, project.id, portal)


@asynccontextmanager
async def served(folder: Path, engine: Engine, *others: Engine) -> AsyncGenerator[Served, None]:
    """Serve a small project until the end of the block; the server then stops as at SIGTERM.

    Where there are other engines, each answers by its name.
    """
    settings = Settings(home=folder / "home")
    make_engine = by_name(engine, *others) if others else only(engine)
    async with AsyncAssistant.open(settings, make_engine=make_engine) as assistant:
        project = await assistant.add_project(str(make_project(folder)))
        async with anyio.create_task_group() as tasks:
            url = await tasks.start(_serve, assistant)
            async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
                try:
                    yield Served(url, http, assistant, project.id)
                finally:
                    signal.raise_signal(signal.SIGTERM)


async def _serve(assistant: AsyncAssistant, *, task_status: TaskStatus[str]) -> None:
    await serve(assistant, host="127.0.0.1", port=0, announce=task_status.started)
