"""A server that answers in the order and with the bytes it was told, and hangs up when it was told.

It knows nothing of the product's routes; what a client makes of an answer is what its tests are about.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Gives each request the next answer; ``received`` holds the requests so far."""

    url: str
    answers: list[bytes]
    received: list[Received] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, give one answer, hang up."""
        self.received.append(await _read(reader))
        if self.answers:
            writer.write(self.answers.pop(0))
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def scripted_server(answers: Sequence[bytes]) -> AsyncGenerator[ScriptedServer, None]:
    """Serve on a free port of loopback."""
    scripted = ScriptedServer("", list(answers))
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield scripted


def answer(status: int, body: bytes, *, content_type: str = "application/json") -> bytes:
    """Return a whole HTTP answer."""
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + body


def json_answer(value: object, *, status: int = 200) -> bytes:
    """Return an answer with a JSON body; models are dumped."""
    return answer(status, json.dumps(value, default=_dumped).encode())


def problem(status: int, *, code: str, detail: str, hint: str = "") -> bytes:
    """Return a refusal as RFC 9457 wants it."""
    body = json.dumps({"status": status, "code": code, "detail": detail, "hint": hint}).encode()
    return answer(status, body, content_type="application/problem+json")


def event_stream(*events: tuple[int, str, BaseModel], cut: bytes = b"") -> bytes:
    """Return a stream that ends by hanging up after its events and the bytes of ``cut``."""
    sent = "".join(
        f": heartbeat\n\nid: {number}\nevent: {name}\ndata: {data.model_dump_json()}\n\n"
        for number, name, data in events
    )
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        + sent.encode()
        + cut
    )


def _dumped(value: object) -> object:
    assert isinstance(value, BaseModel)
    return value.model_dump(mode="json")


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, target, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)
