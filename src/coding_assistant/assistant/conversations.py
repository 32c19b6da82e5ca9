"""The calls that need only what is kept and what is in the making."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Literal, TypeAlias

import anyio
from anyio import to_thread

from coding_assistant import contract
from coding_assistant.chat.export import as_json, as_markdown
from coding_assistant.chat.generation import Generations
from coding_assistant.chat.idle import Attention
from coding_assistant.chat.importing import read_document
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Conversation, Turn
from coding_assistant.errors import NotFound

Forget: TypeAlias = Callable[[Collection[str]], Awaitable[None]]
"""Deletes what is derived from conversations, such as what the model has read of them; takes their ids."""


Forecast: TypeAlias = Callable[[Conversation], Awaitable[contract.ForecastView | None]]
"""Returns what a conversation's next question finds; None where there is no model to ask."""


class ConversationCalls:
    """Sessions and conversations: listed, read, changed, cleared, exported and imported.

    ``forget`` is called after texts have become invisible, by deletion, clearing or the end of their time;
    what goes on for nobody is stopped before, for it may hold them. ``remains`` is what is left then.
    """

    def __init__(
        self,
        store: ConversationStore,
        generations: Generations,
        attention: Attention,
        *,
        forget: Forget,
        forecast: Forecast,
        remains: str,
    ) -> None:
        self._store = store
        self._generations = generations
        self._attention = attention
        self._forget = forget
        self._forecast = forecast
        self._remains = remains
        # Held while a question is begun or turns are removed, so that neither happens within the other.
        self._changing = anyio.Lock()

    async def sessions(self) -> list[contract.SessionView]:
        """Return all sessions, the latest first."""
        return [contract.SessionView.of(each) for each in await to_thread.run_sync(self._store.sessions)]

    async def session(self, session_id: str) -> contract.SessionView:
        """Return one session."""
        return contract.SessionView.of(await to_thread.run_sync(self._store.session, session_id))

    async def session_conversations(self, session_id: str) -> list[contract.ConversationView]:
        """Return the conversations of a session."""
        await to_thread.run_sync(self._store.session, session_id)
        found = await to_thread.run_sync(lambda: self._store.conversations(session_id=session_id))
        return [contract.ConversationView.of(each) for each in found]

    async def clear_session(self, session_id: str) -> contract.HistoryClearedResponse:
        """Delete a session with its conversations, for good."""
        async with self._changing, self._attention.alone():
            ids = [each.conversation_id for each in await self.session_conversations(session_id)]
            for conversation_id in ids:
                await self._stop_answer(conversation_id)
            conversations, turns = await to_thread.run_sync(self._store.clear_session, session_id)
            await self._forget(ids)
        return self._cleared(conversations, turns)

    async def clear_history(self, conversation_id: str | None) -> contract.HistoryClearedResponse:
        """Empty a conversation, or all of them and the trash, for good."""
        async with self._changing, self._attention.alone():
            if conversation_id is None:
                return await self._clear_all()
            await to_thread.run_sync(self._store.conversation, conversation_id)
            await self._stop_answer(conversation_id)
            turns = await to_thread.run_sync(self._store.clear_conversation, conversation_id)
            await self._forget([conversation_id])
        return self._cleared(1, turns)

    def _cleared(self, conversations: int, turns: int) -> contract.HistoryClearedResponse:
        return contract.HistoryClearedResponse(
            cleared_conversations=conversations, cleared_messages=2 * turns, remains=self._remains
        )

    async def _clear_all(self) -> contract.HistoryClearedResponse:
        for generation in self._generations.running():
            await generation.stop()
        known = await to_thread.run_sync(self._store.conversations)
        conversations, turns = await to_thread.run_sync(self._store.clear_all)
        await self._forget([each.id for each in known])
        return self._cleared(conversations, turns)

    async def conversations(
        self,
        *,
        project: str | None = None,
        containing: str | None = None,
        archived: bool | None = None,
        deleted: bool = False,
    ) -> list[contract.ConversationView]:
        """Return conversations, pinned ones first, then the newest; ``deleted``: those in the trash alone."""
        project_id = (await to_thread.run_sync(self._store.project, project)).id if project else None
        found: Sequence[Conversation]
        if deleted:
            every = await to_thread.run_sync(self._store.trash.conversations)
            found = [each for each in every if project_id in {None, each.project_id}]
        else:
            found = await to_thread.run_sync(
                lambda: self._store.conversations(
                    project_id=project_id, containing=containing, archived=archived
                )
            )
        return [contract.ConversationView.of(each) for each in found]

    async def search_messages(self, query: str, *, limit: int = 20) -> list[contract.FoundMessageView]:
        """Return the messages that hold all words, the best first."""
        text = contract.normalise_query(query)
        found = await to_thread.run_sync(lambda: self._store.messages.find(text, limit=limit))
        return [contract.FoundMessageView.of(each) for each in found]

    async def conversation(self, conversation_id: str) -> contract.ConversationView:
        """Return one conversation."""
        found = await to_thread.run_sync(self._store.conversation, conversation_id)
        return contract.ConversationView.of(found)

    async def history(
        self, conversation_id: str, *, limit: int = 50, before: str | None = None
    ) -> contract.ChatHistoryResponse:
        """Return the newest messages, or those before a message, oldest first."""
        await to_thread.run_sync(self._store.conversation, conversation_id)
        end = None if before is None else await self._turn_of(before, conversation_id)
        turns = await to_thread.run_sync(
            lambda: self._store.turns(
                conversation_id,
                limit=limit // 2 + 1,
                before_number=None if end is None else end.number + 1,
            )
        )
        messages = [message for turn in turns for message in contract.history_messages(turn)]
        ids = [message.id for message in messages]
        cut = ids.index(before) if before in ids else len(messages)
        return contract.ChatHistoryResponse(
            conversation_id=conversation_id,
            messages=messages[max(0, cut - limit) : cut],
            total_count=await self._message_count(conversation_id),
            summaries=[
                contract.SummaryView.of(each)
                for each in await to_thread.run_sync(self._store.summaries, conversation_id)
            ],
        )

    async def _turn_of(self, message_id: str, conversation_id: str) -> Turn:
        turn = await to_thread.run_sync(self._store.turn, message_id.rpartition("-")[0])
        if turn.conversation_id != conversation_id:
            raise NotFound(
                f"The conversation has no message {message_id}.",
                hint="Page with an id that its history lists.",
            )
        return turn

    async def _message_count(self, conversation_id: str) -> int:
        """Return how many messages there are: two a turn, less the answer that is being made."""
        count = await to_thread.run_sync(self._store.turn_count, conversation_id)
        newest = await to_thread.run_sync(lambda: self._store.turns(conversation_id, limit=1))
        return 2 * count - sum(turn.answer is None for turn in newest)

    async def context(self, conversation_id: str) -> contract.ChatContextResponse:
        """Return what a conversation holds, in numbers."""
        conversation = await to_thread.run_sync(self._store.conversation, conversation_id)
        turns = await to_thread.run_sync(self._store.turns, conversation_id)
        answers = [turn.answer for turn in turns if turn.answer]
        receipts = [answer.receipt for answer in answers if answer.receipt]
        summary = await to_thread.run_sync(self._store.summary, conversation_id)
        return contract.ChatContextResponse(
            conversation_id=conversation_id,
            message_count=len(turns) + len(answers),
            user_message_count=len(turns),
            assistant_message_count=len(answers),
            last_query=turns[-1].question if turns else None,
            last_response=answers[-1].text if answers else None,
            created_at=conversation.created_at,
            last_updated=conversation.updated_at,
            receipt=contract.ReceiptView.of(receipts[-1]) if receipts else None,
            next=await self._forecast(conversation),
            summary=None if summary is None else contract.SummaryView.of(summary),
        )

    async def change_conversation(
        self, conversation_id: str, patch: contract.ConversationPatch
    ) -> contract.ConversationView:
        """Rename, pin or archive a conversation."""
        changed = await to_thread.run_sync(
            lambda: self._store.change_conversation(
                conversation_id, title=patch.title, pinned=patch.pinned, archived=patch.archived
            )
        )
        return contract.ConversationView.of(changed)

    async def delete_conversation(self, conversation_id: str, *, permanently: bool = False) -> None:
        """Delete a conversation, to be restored or not; an answer in the making is stopped first."""
        delete = self._store.delete_conversation if permanently else self._store.trash.put
        async with self._changing, self._attention.alone():
            await self._stop_answer(conversation_id)
            await to_thread.run_sync(delete, conversation_id)
            await self._forget([conversation_id])

    async def restore_conversation(self, conversation_id: str) -> contract.ConversationView:
        """Undo a deletion; a conversation that is not deleted stays as it is."""
        restored = await to_thread.run_sync(self._store.trash.restore, conversation_id)
        return contract.ConversationView.of(restored)

    async def empty_trash(self) -> None:
        """Delete for good what was deleted 30 days ago."""
        async with self._changing, self._attention.alone():
            due = await to_thread.run_sync(self._store.erase_due)
            if due:
                await self._forget(due)

    async def export_conversation(self, conversation_id: str, *, form: Literal["md", "json"]) -> str:
        """Return a whole conversation as Markdown or JSON."""
        document = await to_thread.run_sync(self._store.document, conversation_id)
        return as_json(document) if form == "json" else as_markdown(document)

    async def import_conversation(
        self, document: bytes, *, as_copy: bool = False
    ) -> contract.ConversationView:
        """Keep a conversation that was exported as JSON.

        Raises ``InvalidImport``, or ``AlreadyImported`` for one that is here and is not to be a copy.
        """
        read = await to_thread.run_sync(read_document, document)
        added = await to_thread.run_sync(lambda: self._store.arrivals.add(read, as_copy=as_copy))
        return contract.ConversationView.of(added)

    async def _stop_answer(self, conversation_id: str) -> None:
        generation = self._generations.running_in(conversation_id)
        if generation:
            await generation.stop()
