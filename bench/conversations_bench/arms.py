"""Ways to hold a conversation that are compared: the product, and a plain server under others' layouts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx2
from pydantic import BaseModel

from conversations_bench.client import Exchange, ask, complete_chat, connect
from conversations_bench.course import Step
from conversations_bench.layouts import Layout, Said, render_source
from conversations_bench.results import OURS, Measured
from conversations_bench.service import Service

WARM_UP = "Which files are there?"
"""Asked once before the course, so that no arm pays for a cold disk or, ours, for its first index."""

Sources = dict[str, tuple[str, ...]]
"""The rendered sources of each step, by its name, as the product found them."""


class Arm(Protocol):
    """One way to hold conversations, around a service that is running."""

    name: str
    service: Service

    async def warm_up(self) -> None:
        """Ask something that is not measured."""
        ...

    async def ask(self, step: Step, *, round_number: int) -> Measured:
        """Ask a question of the course."""
        ...


class _Section(BaseModel):
    name: str
    tokens: int


class _Dropped(BaseModel):
    what: str


class _Receipt(BaseModel):
    used: int
    cached: int
    new: int
    dropped: list[_Dropped] = []


class _Timings(BaseModel):
    searching: float
    loading: float
    reading: float
    written_tokens: int


class _Answered(BaseModel):
    conversation_id: str
    receipt: _Receipt
    timings: _Timings


@dataclass(slots=True)
class Ours:
    """The product, asked as any program asks it. ``sources`` keeps what it found for each step."""

    service: Service
    home: Path
    answer_tokens: int
    sources: Sources
    name: str = OURS
    _conversations: dict[str, str] = field(default_factory=dict)
    _held: dict[str, int] = field(default_factory=dict)
    _dropped: dict[str, frozenset[str]] = field(default_factory=dict)

    async def warm_up(self) -> None:
        """Have the project indexed and the model loaded."""
        async with connect(self.service.url) as http:
            await ask(http, {"query": WARM_UP, "max_tokens": 1, "temperature": 0.0})

    async def ask(self, step: Step, *, round_number: int) -> Measured:
        """Ask in the step's conversation, which its first question begins."""
        body: dict[str, object] = {
            "query": step.question,
            "max_tokens": self.answer_tokens,
            "temperature": 0.0,
        }
        if known := self._conversations.get(step.conversation):
            body["conversation_id"] = known
        async with connect(self.service.url) as http:
            exchange = await ask(http, body)
        self._keep_sources(step, exchange)
        answered = _Answered.model_validate(exchange.events[-1].data)
        self._conversations[step.conversation] = answered.conversation_id
        receipt, timings = answered.receipt, answered.timings
        dropped = frozenset(each.what for each in receipt.dropped if each.what.startswith("turn"))
        compacted = dropped != self._dropped.get(step.conversation, frozenset())
        self._dropped[step.conversation] = dropped
        held = self._held.get(step.conversation)
        self._held[step.conversation] = receipt.used + timings.written_tokens
        return Measured(
            arm=self.name,
            round=round_number,
            step=step.name,
            conversation=step.conversation,
            turn=step.turn,
            after=step.after,
            prompt_tokens=receipt.used,
            read_tokens=receipt.new,
            cached_tokens=receipt.cached,
            written_tokens=timings.written_tokens,
            new_tokens=None if held is None or compacted else receipt.used - held,
            compacted=compacted or bool(exchange.named("compacted")),
            first_token_seconds=exchange.first_token_seconds,
            total_seconds=exchange.total_seconds,
            reading_seconds=timings.reading,
            loading_seconds=timings.loading,
            searching_seconds=timings.searching,
            service_bytes=self.service.resident_bytes(),
            engine_bytes=self.service.engine_resident_bytes(),
            snapshot_bytes=sum(file.stat().st_size for file in self.home.rglob("*.kv")),
        )

    def _keep_sources(self, step: Step, exchange: Exchange) -> None:
        for event in exchange.named("sources"):
            found = event.data["sources"]
            if isinstance(found, list):
                self.sources.setdefault(step.name, tuple(map(render_source, found)))


@dataclass(slots=True)
class Plain:
    """A plain server, to which the whole conversation is sent each time."""

    name: str
    service: Service
    layout: Layout
    answer_tokens: int
    sources: Mapping[str, tuple[str, ...]]
    _past: dict[str, list[Said]] = field(default_factory=dict)

    async def warm_up(self) -> None:
        """Have the weights read from the disk."""
        async with connect(self.service.url) as http:
            await complete_chat(http, self.layout((), WARM_UP, ()), max_tokens=1)

    async def ask(self, step: Step, *, round_number: int) -> Measured:
        """Send the conversation with the sources of this step."""
        past = self._past.setdefault(step.conversation, [])
        messages = self.layout(past, step.question, self.sources[step.name])
        async with connect(self.service.url) as http:
            done = await complete_chat(http, messages, max_tokens=self.answer_tokens)
        past.append(Said(step.question, done.text))
        return Measured(
            arm=self.name,
            round=round_number,
            step=step.name,
            conversation=step.conversation,
            turn=step.turn,
            after=step.after,
            prompt_tokens=done.read_tokens + done.cached_tokens,
            read_tokens=done.read_tokens,
            cached_tokens=done.cached_tokens,
            written_tokens=done.written_tokens,
            new_tokens=None,
            compacted=False,
            first_token_seconds=done.first_token_seconds,
            total_seconds=done.total_seconds,
            reading_seconds=done.reading_seconds,
            loading_seconds=0.0,
            searching_seconds=0.0,
            service_bytes=0,
            engine_bytes=self.service.resident_bytes(),
            snapshot_bytes=0,
        )


async def restart(arm: Arm) -> float:
    """Stop the arm's service and start it again; return the seconds until it is ready."""
    began = time.perf_counter()
    arm.service.stop()
    arm.service.start()
    return time.perf_counter() - began


async def tokens_of(http: httpx2.AsyncClient, text: str) -> list[int]:
    """Return a plain server's tokens of a text."""
    response = await http.post("/tokenize", json={"content": text})
    tokens: list[int] = response.raise_for_status().json()["tokens"]
    return tokens
