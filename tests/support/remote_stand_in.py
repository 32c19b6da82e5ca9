"""A server elsewhere, without a model: the doors and the habits of those that the product speaks to.

It counts words where a vendor would count tokens, and answers with the frames that a test gives it. It runs
in the test's own event loop, and notices when a client hangs up.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

MODEL = "coder-7b"
CONTEXT_TOKENS = 1_024
BOUND_SECONDS = 20.0
"""No test waits longer for the other side."""

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

_WORD = re.compile(r"\w+|[^\w\s]")
_OVERHEAD = 4

Json: TypeAlias = Mapping[str, object]
Body: TypeAlias = dict[str, object]


class Vendor(StrEnum):
    VLLM = "vllm"
    SGLANG = "sglang"
    OLLAMA = "ollama"
    LLAMA_SERVER = "llama-server"
    PLAIN = "plain"


class Then(StrEnum):
    """What comes after an answer's frames."""

    END = "end"
    CUT = "cut"
    STALL = "stall"


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: Body


@dataclass(frozen=True)
class Refusal:
    """A whole answer in place of a stream; sent to whatever is asked next."""

    status: int
    body: object = field(default_factory=lambda: {"error": {"message": "no"}})
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Stream:
    """A streamed answer. ``waits`` holds all behind the first frame back until ``go_on`` is called."""

    frames: tuple[bytes, ...]
    then: Then = Then.END
    waits: bool = False


@dataclass
class RemoteStandIn:
    """``streams`` are given to one chat after the other, the last one for ever; ``refusals`` come first.

    ``left`` counts the clients that hung up during a stream, ``most_at_once`` the streams side by side.
    """

    vendor: Vendor = Vendor.VLLM
    streams: list[Stream] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    closed_doors: frozenset[str] = frozenset()
    ollama_context: int | None = CONTEXT_TOKENS
    url: str = ""
    received: list[Received] = field(default_factory=list)
    left: int = 0
    most_at_once: int = 0
    _at_once: int = 0
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def chats(self) -> list[Body]:
        return [each.body for each in self.received if each.path.endswith("/chat/completions")]

    @property
    def asked(self) -> Counter[str]:
        return Counter(each.path for each in self.received)

    def go_on(self) -> None:
        self._gate.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as something happened that makes the condition true."""
        async with asyncio.timeout(BOUND_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read(reader)
        self.received.append(request)
        self._news.set()
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is None and request.path.endswith("/chat/completions"):
            await self._stream(request, reader, writer)
        else:
            whole = refusal or self._door(request)
            writer.write(_whole(whole))
        writer.close()

    def _door(self, request: Received) -> Refusal:
        door = _DOORS.get((request.method, request.path))
        vendors, answer = door or ((), None)
        if answer is None or self.vendor not in vendors or request.path in self.closed_doors:
            return Refusal(404, {"error": {"message": "File Not Found"}})
        return Refusal(200, answer(self, request.body))

    async def _stream(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        stream = self._next_stream(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        leaving: asyncio.Future[object] = asyncio.ensure_future(reader.read())
        try:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
                b"connection: close\r\n\r\n"
            )
            for number, frame in enumerate(stream.frames):
                if number == 1 and stream.waits:
                    await self._unless_left(self._gate.wait(), leaving)
                if not leaving.done():
                    writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            if stream.then is Then.STALL:
                await self._unless_left(asyncio.sleep(BOUND_SECONDS), leaving)
            if stream.then is Then.END and not leaving.done():
                writer.write(b"0\r\n\r\n")
            self.left += leaving.done()
        finally:
            leaving.cancel()
            self._at_once -= 1
            self._news.set()

    async def _unless_left(
        self, awaited: Coroutine[object, object, object], leaving: "asyncio.Future[object]"
    ) -> None:
        waiting = asyncio.ensure_future(awaited)
        either: set[asyncio.Future[object]] = {waiting, leaving}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_SECONDS)
        waiting.cancel()

    def _next_stream(self, request: Received) -> Stream:
        if not self.streams:
            return answer_of("It is in [1].", prompt_tokens=count_of(request.body))
        return self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]


@asynccontextmanager
async def remote_stand_in(
    vendor: Vendor = Vendor.VLLM,
    *streams: Stream,
    refusals: Sequence[Refusal] = (),
    closed_doors: Sequence[str] = (),
    ollama_context: int | None = CONTEXT_TOKENS,
) -> AsyncIterator[RemoteStandIn]:
    """Serve on a free port of loopback."""
    stand_in = RemoteStandIn(
        vendor, list(streams), list(refusals), frozenset(closed_doors), ollama_context=ollama_context
    )
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    stand_in.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield stand_in
    finally:
        server.close()
        stand_in.go_on()


# --- Frames -----------------------------------------------------------------------------------------


def frame(value: Json, *, line_end: str = "\n") -> bytes:
    return f"data: {json.dumps(value)}{line_end}{line_end}".encode()


def piece(text: str | None, **more: object) -> bytes:
    return frame({"choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": None}]})


def thought(text: str, *, name: str = "reasoning_content") -> bytes:
    return frame({"choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}]})


def role_only() -> bytes:
    return piece(None, role="assistant")


def finished(reason: str = "stop") -> bytes:
    return frame({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def usage(prompt_tokens: int, completion_tokens: int, *, cached_tokens: int | None = None) -> bytes:
    details = None if cached_tokens is None else {"cached_tokens": cached_tokens}
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return frame({"choices": [], "usage": {**counts, "prompt_tokens_details": details}})


def answer_of(text: str, *, prompt_tokens: int = 20, reason: str = "stop") -> Stream:
    """Return an ordinary answer, word by word."""
    words = re.findall(r"\s*\S+", text)
    return Stream(
        (
            role_only(),
            *map(piece, words),
            finished(reason),
            usage(prompt_tokens, len(words), cached_tokens=0),
            DONE,
        )
    )


# --- Doors ------------------------------------------------------------------------------------------


def count_of(body: Json) -> int:
    """Return the tokens of a text or of messages, as the stand-in counts them."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return sum(_OVERHEAD + len(_WORD.findall(message["content"])) for message in messages) + _OVERHEAD
    return len(_WORD.findall(str(body.get("prompt", body.get("content", "")))))


def _models(stand_in: RemoteStandIn, _: Json) -> Json:
    said: dict[Vendor, Json] = {
        Vendor.VLLM: {"owned_by": "vllm", "max_model_len": CONTEXT_TOKENS},
        Vendor.SGLANG: {"owned_by": "sglang", "max_model_len": CONTEXT_TOKENS},
        Vendor.OLLAMA: {"owned_by": "library"},
        Vendor.LLAMA_SERVER: {"owned_by": "llamacpp", "meta": {"n_ctx_train": 32_768}},
        Vendor.PLAIN: {"owned_by": "somebody"},
    }
    return {"object": "list", "data": [{"id": MODEL, "object": "model", **said[stand_in.vendor]}]}


def _running(stand_in: RemoteStandIn, _: Json) -> Json:
    known = {} if stand_in.ollama_context is None else {"context_length": stand_in.ollama_context}
    return {"models": [{"name": MODEL, "model": MODEL, **known}]}


_Door: TypeAlias = tuple[tuple[Vendor, ...], Callable[[RemoteStandIn, Json], Json]]

_DOORS: Mapping[tuple[str, str], _Door] = {
    ("GET", "/v1/models"): (tuple(Vendor), _models),
    ("POST", "/tokenize"): (
        (Vendor.VLLM, Vendor.LLAMA_SERVER),
        lambda stand_in, body: (
            {"count": count_of(body)}
            if stand_in.vendor is Vendor.VLLM
            else {"tokens": list(range(count_of(body)))}
        ),
    ),
    ("POST", "/v1/chat/completions/input_tokens"): (
        (Vendor.LLAMA_SERVER,),
        lambda _, body: {"input_tokens": count_of(body), "object": "response.input_tokens"},
    ),
    ("GET", "/props"): (
        (Vendor.LLAMA_SERVER,),
        lambda _, __: {"default_generation_settings": {"n_ctx": CONTEXT_TOKENS}, "total_slots": 4},
    ),
    ("GET", "/api/version"): ((Vendor.OLLAMA,), lambda _, __: {"version": "0.30.1"}),
    ("POST", "/api/show"): (
        (Vendor.OLLAMA,),
        lambda _, __: {"parameters": 'stop "<|im_end|>"\nnum_ctx 2048', "model_info": {}},
    ),
    ("POST", "/api/generate"): ((Vendor.OLLAMA,), lambda _, __: {"done": True}),
    ("GET", "/api/ps"): ((Vendor.OLLAMA,), _running),
}


def _whole(answer: Refusal) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    lines = [f"{name}: {value}" for name, value in (headers | dict(answer.headers)).items()]
    return "\r\n".join([f"HTTP/1.1 {answer.status} Said", *lines, "", ""]).encode() + body


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, path, _ = first.split(" ")
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, json.loads(content) if content else {})
