"""Asking over HTTP with a clock: the product's API, and the chat completions of a plain llama.cpp server."""

import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

NO_LIMIT = httpx2.Timeout(None, connect=10.0)
"""A prompt of 8,000 tokens is read for minutes; who waits too long is the bench's user."""


class QuestionFailed(Exception):
    """A question got a refusal or an ``error`` event in place of an answer."""

    def __init__(self, code: str, detail: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event and when it came, in seconds after the question was sent."""

    name: str
    data: Mapping[str, object]
    after_seconds: float


@dataclass(slots=True)
class Exchange:
    """A question's events so far, and its answer once it is there."""

    events: list[Event] = field(default_factory=list)

    def named(self, name: str) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if event.name == name]

    @property
    def first_token_seconds(self) -> float:
        """When the first piece of the answer came; the end of an answer that says nothing."""
        return (self.named("text") or self.events)[0 if self.named("text") else -1].after_seconds

    @property
    def total_seconds(self) -> float:
        """When the last event came."""
        return self.events[-1].after_seconds

    @property
    def writing_seconds(self) -> float:
        """The time from the first piece of the answer to the last."""
        texts = self.named("text")
        return texts[-1].after_seconds - texts[0].after_seconds if texts else 0.0

    @property
    def text(self) -> str:
        """The answer as it was streamed."""
        return "".join(str(event.data["text"]) for event in self.named("text"))


def connect(url: str) -> httpx2.AsyncClient:
    """Return a client that waits for as long as it takes."""
    return httpx2.AsyncClient(base_url=url, trust_env=False, timeout=NO_LIMIT)


async def ask(http: httpx2.AsyncClient, body: Mapping[str, object], *, key: str = "") -> Exchange:
    """Ask the product and return the exchange when the answer is finished. Raises ``QuestionFailed``."""
    exchange = Exchange()
    async for event in follow(http, body, key=key):
        exchange.events.append(event)
    if exchange.events[-1].name != "finished":
        raise QuestionFailed("incomplete", "the stream ended before the answer did")
    return exchange


async def follow(
    http: httpx2.AsyncClient, body: Mapping[str, object], *, key: str = ""
) -> AsyncGenerator[Event, None]:
    """Ask the product and yield the events as they come. Raises ``QuestionFailed``."""
    began = time.perf_counter()
    headers = {"Idempotency-Key": key} if key else {}
    async with _posted(http, "/chat/query", {**body, "stream": True}, headers) as response:
        async for sent in httpx2.EventSource(response, max_event_size=None):
            event = Event(sent.event, json.loads(sent.data), time.perf_counter() - began)
            if event.name == "error":
                raise QuestionFailed(str(event.data["code"]), str(event.data["detail"]))
            yield event


async def history(http: httpx2.AsyncClient, conversation_id: str) -> list[Mapping[str, object]]:
    """Return all messages of a conversation, oldest first."""
    response = await http.get("/chat/history", params={"conversation_id": conversation_id, "limit": 1000})
    messages: list[Mapping[str, object]] = response.raise_for_status().json()["messages"]
    return messages


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer of a plain server; the counts and the engine's times are its own."""

    text: str
    first_token_seconds: float
    writing_seconds: float
    total_seconds: float
    read_tokens: int
    cached_tokens: int
    written_tokens: int
    reading_seconds: float


async def complete_chat(
    http: httpx2.AsyncClient, messages: Sequence[Mapping[str, str]], *, max_tokens: int
) -> Completion:
    """Ask a plain server as its users' programs do. Raises ``QuestionFailed``."""
    body = {"messages": messages, "max_tokens": max_tokens, "temperature": 0.0, "stream": True}
    return await _completed(http, "/v1/chat/completions", body)


async def complete_tokens(
    http: httpx2.AsyncClient, tokens: Sequence[int], *, written_tokens: int
) -> Completion:
    """Have a plain server continue tokens by exactly so many. Raises ``QuestionFailed``."""
    body = {
        "prompt": tokens,
        "n_predict": written_tokens,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
    }
    return await _completed(http, "/completion", body)


async def _completed(http: httpx2.AsyncClient, path: str, body: Mapping[str, object]) -> Completion:
    began = time.perf_counter()
    pieces: list[str] = []
    times: list[float] = []
    timings: Mapping[str, float] = {}
    async with _posted(http, path, body, {}) as response:
        async for sent in httpx2.EventSource(response, max_event_size=None):
            if sent.data == "[DONE]":
                break
            chunk = json.loads(sent.data)
            if text := _text_of(chunk):
                pieces.append(text)
                times.append(time.perf_counter() - began)
            timings = chunk.get("timings", timings)
    total = time.perf_counter() - began
    return Completion(
        text="".join(pieces),
        first_token_seconds=times[0] if times else total,
        writing_seconds=times[-1] - times[0] if times else 0.0,
        total_seconds=total,
        read_tokens=int(timings["prompt_n"]),
        cached_tokens=int(timings["cache_n"]),
        written_tokens=int(timings["predicted_n"]),
        reading_seconds=timings["prompt_ms"] / 1_000,
    )


def _text_of(chunk: Mapping[str, object]) -> str:
    """Return the text of a chunk of either kind of completion."""
    match chunk:
        case {"choices": [{"delta": {"content": str(text)}}, *_]}:
            return text
        case {"content": str(text)}:
            return text
    return ""


@asynccontextmanager
async def _posted(
    http: httpx2.AsyncClient, path: str, body: Mapping[str, object], headers: Mapping[str, str]
) -> AsyncGenerator[httpx2.Response, None]:
    async with http.stream("POST", path, json=body, headers=headers) as response:
        if response.is_error:
            await response.aread()
            raise _refusal(response)
        yield response


def _refusal(response: httpx2.Response) -> QuestionFailed:
    try:
        said = response.json()
    except ValueError:
        return QuestionFailed(f"http {response.status_code}", response.text[:200])
    error = said.get("error", said)
    seconds = response.headers.get("retry-after")
    return QuestionFailed(
        str(error.get("code", response.status_code)),
        str(error.get("detail", error.get("message", ""))),
        retry_after_seconds=None if seconds is None else float(seconds),
    )
