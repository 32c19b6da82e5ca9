"""The model as conversations use it: what it is told first, what it may read and write, what it has read."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from coding_assistant.chat.receipt import Budget
from coding_assistant.chat.rendering import ConversationText, models_answering, system_text
from coding_assistant.chat.sources import CHARACTERS_PER_TOKEN, ShownBefore
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Chunk, ModelSpec, Project, Source, Summary, Turn
from coding_assistant.inference.caches import SlotCaches
from coding_assistant.inference.reading_speed import ReadingSpeeds, source_budget
from coding_assistant.inference.snapshots import FRONT_PREFIX
from coding_assistant.protocols import Engine

_DIGEST_DIGITS = 32

LATEST_TURNS: Final = 12
"""So many turns are held in any case, also those that a summary stands for: a question may lean on them."""


def _nothing_shown(_chunks: Collection[Chunk]) -> ShownBefore:
    return ShownBefore()


@dataclass(frozen=True, slots=True)
class KeptConversation:
    """What of a conversation its next prompt is made of; nothing yet for one that has not begun.

    ``past`` are the turns that no summary stands for, and at least the latest. Of the turns before,
    ``summarised_tokens`` is what those in the summary took when they were asked, ``summarised_models`` are
    the models that answered them, and ``find_summarised`` asks the store for the sources that they showed.
    """

    primer: str = ""
    past: Sequence[Turn] = ()
    summary: Summary | None = None
    summarised_tokens: int = 0
    summarised_models: frozenset[str] = frozenset()
    find_summarised: Callable[[Collection[Chunk]], ShownBefore] = _nothing_shown

    @property
    def summarised(self) -> int:
        """The number of the last turn that the summary stands for, 0 if there is none."""
        return self.summary.last_turn if self.summary else 0

    @property
    def models(self) -> frozenset[str]:
        """The models that have answered in the conversation."""
        return self.summarised_models | models_answering(self.past)

    @property
    def sources_in_prompt(self) -> tuple[Source, ...]:
        """The sources of the turns that stand in the prompt as they were."""
        return tuple(source for turn in self.past if turn.number > self.summarised for source in turn.sources)

    def shown_before(self, chunks: Collection[Chunk]) -> ShownBefore:
        """Return the sources of the conversation that may hold what was found; blocking."""
        return replace(self.find_summarised(chunks), in_prompt=self.sources_in_prompt)


def kept_conversation(
    store: ConversationStore, conversation_id: str, *, before_number: int | None = None
) -> KeptConversation:
    """Read a conversation from the store, its turns before a number if one is given."""
    primer = store.conversation(conversation_id).primer
    summary = store.summary(conversation_id)
    if summary is None:
        return KeptConversation(primer, store.turns(conversation_id, before_number=before_number))
    last = summary.last_turn
    past = store.turns(conversation_id, after_number=last, before_number=before_number)
    if len(past) < LATEST_TURNS:
        past = store.turns(conversation_id, limit=LATEST_TURNS, before_number=before_number)
    total = store.older.total(conversation_id, last)
    return KeptConversation(
        primer,
        past,
        summary,
        summarised_tokens=total.tokens,
        summarised_models=total.models,
        find_summarised=partial(store.older.shown, conversation_id, last),
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
            summarised_tokens=kept.summarised_tokens,
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
