"""A conversation that is held with an engine through its slot caches, and what each turn cost."""

from contextlib import aclosing
from dataclasses import dataclass

from coding_assistant.domain import GenerationEnded, GenerationRequest, TextPiece
from coding_assistant.inference.caches import SlotCaches
from coding_assistant.protocols import Engine


@dataclass(frozen=True)
class HeldTurn:
    """A turn that was answered; ``asked_tokens`` is what was not in the conversation before."""

    slot: int
    asked_tokens: int
    cached_tokens: int
    new_tokens: int
    text: str

    @property
    def is_warm(self) -> bool:
        """Whether nothing was read twice; an answer's last token is not read before the next question."""
        return self.new_tokens <= self.asked_tokens + 1


class HeldConversation:
    """A conversation whose prompt is all that was said, token after token, behind what it begins with."""

    def __init__(
        self, owner: str, engine: Engine, caches: SlotCaches, *, begins_with: tuple[int, ...] = ()
    ) -> None:
        self.owner = owner
        self.tokens = begins_with
        self._engine = engine
        self._caches = caches

    async def ask(self, question: str, *, front: str = "", max_tokens: int = 8) -> HeldTurn:
        """Ask in a slot of the caches."""
        async with self._caches.lease(self.owner) as lease:
            await lease.prepare(await self._engine.load(), front=front)
            return await self.ask_in(lease.slot, question, max_tokens=max_tokens)

    async def ask_in(self, slot: int, question: str, *, max_tokens: int = 8) -> HeldTurn:
        """Ask in a slot that is prepared."""
        asked = await self._engine.tokenize(question)
        prompt = (*self.tokens, *asked)
        request = GenerationRequest(prompt, slot, max_tokens, temperature=0.0, top_p=1.0)
        pieces: list[TextPiece] = []
        async with aclosing(self._engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, TextPiece):
                    pieces.append(event)
        assert isinstance(event, GenerationEnded)
        self.tokens = (*prompt, *(token for piece in pieces for token in piece.tokens))
        text = "".join(piece.text for piece in pieces)
        return HeldTurn(slot, len(asked), event.cached_tokens, event.new_tokens, text)
