"""One request to an ASGI application in this process, with headers and chunks exactly as given."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

HOST = ("host", "127.0.0.1:8000")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Headers
    body: bytes


def scope_of(
    method: str, target: str, headers: Iterable[tuple[str, str]], *, scheme: str = "http", port: int = 8000
) -> Scope:
    """Return the scope of a request, its target percent-encoded, as a server on loopback makes it."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", port),
        "state": {},
    }


async def call(app: ASGIApp, scope: Scope, chunks: Sequence[bytes] = ()) -> Answer:
    """Return the answer to a request whose body comes in these chunks; the reader leaves when it has it."""
    waiting = list(chunks) or [b""]
    completed = anyio.Event()
    started: Message = {}
    body = b""

    async def receive() -> Message:
        if not waiting:
            await completed.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        nonlocal started, body
        if message["type"] == "http.response.start":
            started = message
        body += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            completed.set()

    await app(scope, receive, send)
    return Answer(started["status"], Headers(raw=list(started["headers"])), body)
