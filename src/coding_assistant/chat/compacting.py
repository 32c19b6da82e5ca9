"""Has the model summarise long conversations while nobody asks, and read what is left of them.

The next question then finds a short prompt in its slot, instead of waiting while the long one is cut. Where a
question comes first, a summary by rule stands in (``compaction``).
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from anyio import to_thread

from coding_assistant.chat.compaction import summary_limit
from coding_assistant.chat.model import ChatModel, KeptConversation, front_digest, kept_conversation
from coding_assistant.chat.prompt import opening_of_turn
from coding_assistant.chat.receipt import Budget
from coding_assistant.chat.rendering import ConversationText
from coding_assistant.chat.store import ConversationStore
from coding_assistant.chat.summaries import summary_from, summary_request, turns_to_summarise
from coding_assistant.domain import (
    EngineInfo,
    GenerationRequest,
    Project,
    ReasoningPiece,
    Summary,
    TextPiece,
    Turn,
)
from coding_assistant.errors import CodingAssistantError, NotFound


class Compacting:
    """Conversations that were answered lately, and the summaries that are due for them."""

    def __init__(self, store: ConversationStore, model: ChatModel) -> None:
        self._store = store
        self._model = model
        self._answered: dict[str, Project] = {}  # by conversation, the latest last

    def note_answer(self, conversation_id: str, project: Project) -> None:
        """Have the conversation looked at in the next idle moment."""
        self._answered.pop(conversation_id, None)
        self._answered[conversation_id] = project

    async def summarise_next(self) -> bool:
        """Summarise one conversation that is nearly full; False if there is none.

        Stopped in the middle, it is begun anew the next time.
        """
        if not self._model.engine.is_loaded:
            return False
        for conversation_id, project in reversed(list(self._answered.items())):
            try:
                is_done = await self._summarise(conversation_id, project)
            except CodingAssistantError:  # it would fail again, until another answer is there
                self._answered.pop(conversation_id, None)
                raise
            self._answered.pop(conversation_id, None)
            if is_done:
                return True
        return False

    async def _summarise(self, conversation_id: str, project: Project) -> bool:
        try:
            kept = await to_thread.run_sync(kept_conversation, self._store, conversation_id)
        except NotFound:  # deleted meanwhile
            return False
        model = self._model
        if not _is_last_to_answer(model, kept):
            return False
        info = await model.engine.load()
        budget = model.budget(info.context_tokens)
        text = model.text(project, kept)
        turns = await turns_to_summarise(model.engine, text, budget=budget, vocabulary=info.vocabulary)
        if not turns:
            return False
        async with model.caches.lease(conversation_id) as lease:
            await lease.prepare(info, front=front_digest(text.system))
            summary = await self._summary(text, turns, lease.slot, info)
            try:
                await to_thread.run_sync(
                    lambda: self._store.add_summary(conversation_id, summary, last_turn_id=turns[-1].id)
                )
            except NotFound:  # cleared or deleted meanwhile
                return False
            await self._read_again(project, kept, summary, lease.slot, info)
        return True

    async def _summary(
        self, text: ConversationText, turns: Sequence[Turn], slot: int, info: EngineInfo
    ) -> Summary:
        """Have the model write a summary: behind the conversation as it stands, so that little is read."""
        model, budget = self._model, self._model.budget(info.context_tokens)
        messages = summary_request(text, turns, budget=budget, vocabulary=info.vocabulary)
        request = GenerationRequest(
            tokens=await model.engine.encode(messages),
            slot=slot,
            max_tokens=_summary_tokens(budget),
            temperature=0.0,
            top_p=1.0,
            stop=model.spec.stop_tokens,
            messages=tuple(messages),
        )
        written = ""
        async with aclosing(model.engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, TextPiece):
                    written += event.text
                elif isinstance(event, ReasoningPiece) and event.takes_text_back:
                    written = ""
        return await summary_from(model.engine, written, text, turns, budget=budget, now=datetime.now(UTC))

    async def _read_again(
        self, project: Project, kept: KeptConversation, summary: Summary, slot: int, info: EngineInfo
    ) -> None:
        model = self._model
        text = model.text(project, replace(kept, summary=summary))
        opening = await opening_of_turn(
            model.engine, text, budget=model.budget(info.context_tokens), vocabulary=info.vocabulary
        )
        if opening:
            await model.read(opening, slot=slot)


def _is_last_to_answer(model: ChatModel, kept: KeptConversation) -> bool:
    """Return whether the conversation is still this model's: another one may hold all of it."""
    answer = kept.past[-1].answer if kept.past else None
    return answer is None or answer.model == model.engine.name


def _summary_tokens(budget: Budget) -> int:
    return min(summary_limit(budget.limit), budget.reserved)
