"""The model as conversations use it: what it is told first, what it may read and write, what it has read."""

import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from coding_assistant.chat.receipt import Budget
from coding_assistant.chat.rendering import ConversationText, system_text
from coding_assistant.chat.sources import CHARACTERS_PER_TOKEN
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import ModelSpec, Project, Source, Summary, Turn
from coding_assistant.inference.caches import SlotCaches
from coding_assistant.inference.reading_speed import ReadingSpeeds, source_budget
from coding_assistant.inference.snapshots import FRONT_PREFIX
from coding_assistant.protocols import Engine

_DIGEST_DIGITS = 32


@dataclass(frozen=True, slots=True)
class KeptConversation:
    """What of a conversation its next prompt is made of; nothing yet for one that has not begun."""

    primer: str = ""
    past: Sequence[Turn] = ()
    summary: Summary | None = None

    @property
    def summarised(self) -> int:
        """The number of the last turn that the summary stands for, 0 if there is none."""
        return self.summary.last_turn if self.summary else 0


def kept_conversation(
    store: ConversationStore, conversation_id: str, *, before_number: int | None = None
) -> KeptConversation:
    """Read a conversation from the store, its turns before a number if one is given."""
    return KeptConversation(
        store.conversation(conversation_id).primer,
        store.turns(conversation_id, before_number=before_number),
        store.summary(conversation_id),
    )


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model that answers, with the settings that suit it and all that is remembered of it.

    ``source_tokens`` is what a question is shown of the code; None: as much as is read in
    ``first_token_seconds``.
    """

    spec: ModelSpec
    engine: Engine
    caches: SlotCaches
    speeds: ReadingSpeeds
    first_token_seconds: float
    source_tokens: int | None = None

    def system(self, project: Project, primer: str = "") -> str:
        """Return what every conversation about the project begins with."""
        return system_text(project.name, instructions=self.spec.system_prompt, primer=primer)

    def text(
        self,
        project: Project,
        kept: KeptConversation,
        *,
        question: str = "",
        sources: tuple[Source, ...] = (),
    ) -> ConversationText:
        """Return the conversation up to a question."""
        return ConversationText(
            system=self.system(project, kept.primer),
            past=kept.past,
            summary=kept.summary,
            question=question,
            sources=sources,
            primer=kept.primer,
        )

    def budget(self, context_tokens: int | None = None, *, max_tokens: int | None = None) -> Budget:
        """Return the budget; a reply may take half of the context at most, so that a prompt has room.

        Before the model is loaded its entry says how long the context is.
        """
        limit = context_tokens or self.spec.context_length
        return Budget(limit=limit, reserved=min(max_tokens or self.spec.max_tokens, limit // 2))

    async def read(self, tokens: Sequence[int], *, slot: int) -> None:
        """Read tokens into a slot, for a prompt that is going to begin with them."""
        async with aclosing(self.engine.read(tokens, slot=slot)) as events:
            async for _ in events:
                pass

    def source_budget(self, question: str) -> int:
        """Return how many tokens of code the question is shown."""
        if self.source_tokens is not None:
            return self.source_tokens
        return source_budget(
            self.speeds.of(self.engine.name),
            first_token_seconds=self.first_token_seconds,
            other_tokens=round(len(question) / CHARACTERS_PER_TOKEN),
        )


def front_digest(system: str) -> str:
    """Return the name under which the beginning of conversations with this system text is kept."""
    return FRONT_PREFIX + hashlib.sha256(system.encode()).hexdigest()[:_DIGEST_DIGITS]
