"""The calls that need only what is kept and what is in the making."""

from typing import Literal

import anyio
from anyio import to_thread

from coding_assistant import contract
from coding_assistant.chat.export import conversation_as_json, conversation_as_markdown
from coding_assistant.chat.generation import Generations
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Turn
from coding_assistant.errors import NotFound


class ConversationCalls:
    """Sessions and conversations: listed, read, changed and cleared."""

    def __init__(self, store: ConversationStore, generations: Generations) -> None:
        self._store = store
        self._generations = generations
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
        """Delete a session with its conversations."""
        async with self._changing:
            for conversation in await self.session_conversations(session_id):
                await self._stop_answer(conversation.conversation_id)
            conversations, turns = await to_thread.run_sync(self._store.clear_session, session_id)
        return contract.HistoryClearedResponse(
            cleared_conversations=conversations, cleared_messages=2 * turns
        )

    async def clear_history(self, conversation_id: str | None) -> contract.HistoryClearedResponse:
        """Empty a conversation, or all of them."""
        if conversation_id is None:
            async with self._changing:
                for generation in self._generations.running():
                    await generation.stop()
                conversations, turns = await to_thread.run_sync(self._store.clear_all)
        else:
            await to_thread.run_sync(self._store.conversation, conversation_id)
            async with self._changing:
                await self._stop_answer(conversation_id)
                turns = await to_thread.run_sync(self._store.clear_conversation, conversation_id)
            conversations = 1
        return contract.HistoryClearedResponse(
            cleared_conversations=conversations, cleared_messages=2 * turns
        )

    async def conversations(
        self, *, project: str | None = None, containing: str | None = None
    ) -> list[contract.ConversationView]:
        """Return conversations, pinned ones first, then the newest."""
        project_id = (await to_thread.run_sync(self._store.project, project)).id if project else None
        found = await to_thread.run_sync(
            lambda: self._store.conversations(project_id=project_id, containing=containing)
        )
        return [contract.ConversationView.of(each) for each in found]

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

    async def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation; an answer in the making is stopped first."""
        await to_thread.run_sync(self._store.conversation, conversation_id)
        async with self._changing:
            await self._stop_answer(conversation_id)
            await to_thread.run_sync(self._store.delete_conversation, conversation_id)

    async def export_conversation(self, conversation_id: str, *, form: Literal["md", "json"]) -> str:
        """Return a whole conversation as Markdown or JSON."""
        conversation = await to_thread.run_sync(self._store.conversation, conversation_id)
        project = await to_thread.run_sync(self._store.project, conversation.project_id)
        turns = await to_thread.run_sync(self._store.turns, conversation_id)
        if form == "json":
            return conversation_as_json(conversation, project, turns)
        return conversation_as_markdown(conversation, project, turns)

    async def _stop_answer(self, conversation_id: str) -> None:
        generation = self._generations.running_in(conversation_id)
        if generation:
            await generation.stop()
