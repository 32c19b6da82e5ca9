"""Whoever asks one question after another in one conversation, and notes what was acknowledged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import httpx2

from conversations_bench.client import Exchange, QuestionFailed, follow, history
from endurance_bench.ledger import Ledger

QUESTIONS = (
    "Where are the settings read?",
    "How is a chunk cut out of a file?",
    "What happens when the engine dies?",
    "Who decides which slot a conversation gets?",
    "How does a citation become verified?",
)


@dataclass(slots=True)
class Asker:
    """One asker. ``limits`` are the request's bounds, such as ``max_tokens``."""

    name: str
    limits: Mapping[str, object] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    _texts: Iterator[str] = field(default_factory=lambda: cycle(QUESTIONS))

    def next_question(self) -> str:
        """Return a question that no other is like."""
        return f"{next(self._texts)} ({self.name}, number {len(self.ledger.sent) + 1})"

    async def ask(
        self, http: httpx2.AsyncClient, *, heard: Callable[[str], None] = lambda _: None
    ) -> Exchange:
        """Ask the next question, to the end of its answer. Raises as ``client.follow`` does."""
        return await self.send(http, self.ledger.send(self.next_question()), heard=heard)

    async def send(
        self, http: httpx2.AsyncClient, question: str, *, heard: Callable[[str], None] = lambda _: None
    ) -> Exchange:
        """Send a question that the ledger knows, under its own idempotency key.

        ``heard`` gets the name of each event as it comes.
        """
        body: dict[str, object] = {"query": question, **self.limits}
        if self.ledger.conversation_id:
            body["conversation_id"] = self.ledger.conversation_id
        exchange = Exchange()
        async for event in follow(http, body, key=f"{self.name}-{self.ledger.sent.index(question)}"):
            exchange.events.append(event)
            self.ledger.hear(question, event.name, event.data)
            heard(event.name)
        return exchange

    async def violations(self, http: httpx2.AsyncClient) -> list[str]:
        """Return how the conversation's history differs from what was acknowledged."""
        if not self.ledger.conversation_id:
            return []
        messages: Sequence[Mapping[str, object]] = await history(http, self.ledger.conversation_id)
        return [f"{self.name}: {each}" for each in self.ledger.violations(messages)]

    async def next_turn_fails(self, http: httpx2.AsyncClient) -> list[str]:
        """Ask once more; return why that did not work, or nothing."""
        try:
            exchange = await self.ask(http)
        except (QuestionFailed, httpx2.TransportError) as error:
            return [f"{self.name}: the next turn failed: {error!r}"]
        if exchange.events[-1].name != "finished":
            return [f"{self.name}: the next turn ended without its answer"]
        return []


async def takes_keys(http: httpx2.AsyncClient) -> bool:
    """Return whether this product knows a retried question by its ``Idempotency-Key``."""
    described = (await http.get("/openapi.json")).raise_for_status().json()
    parameters = described["paths"]["/chat/query"]["post"].get("parameters", [])
    return any(parameter["name"].lower() == "idempotency-key" for parameter in parameters)
