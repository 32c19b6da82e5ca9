"""Conversations that were deleted and can be had back, until their time is over."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, select, update

from coding_assistant.chat.records import conversation_from
from coding_assistant.chat.rows import DELETED_CONVERSATIONS, conversation_row, no_conversation
from coding_assistant.chat.tables import conversations
from coding_assistant.database import reading, writing
from coding_assistant.domain import Conversation

KEPT: Final = timedelta(days=30)
"""How long a deletion can be undone."""


class Trash:
    """The deleted conversations of a store: nothing else there sees them. ``delete`` is the store's own."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], datetime],
        delete: Callable[[Connection, ColumnElement[bool]], int],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._delete = delete

    def put(self, conversation_id: str) -> Conversation:
        """Delete a conversation so that it can be had back, and return it."""
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(conversations)
                .where(conversations.c.id == conversation_id, conversations.c.deleted_at.is_(None))
                .values(deleted_at=self._clock())
            )
            if not changed.rowcount:
                raise no_conversation(conversation_id)
            of_this = DELETED_CONVERSATIONS.where(conversations.c.id == conversation_id)
            return conversation_from(connection.execute(of_this).mappings().one())

    def restore(self, conversation_id: str) -> Conversation:
        """Undo a deletion and return the conversation; one that is not deleted stays as it is."""
        with writing(self._engine) as connection:
            connection.execute(
                update(conversations).where(conversations.c.id == conversation_id).values(deleted_at=None)
            )
            return conversation_from(conversation_row(connection, conversation_id))

    def conversations(self) -> list[Conversation]:
        """Return the deleted conversations, the last deleted first."""
        statement = DELETED_CONVERSATIONS.order_by(
            conversations.c.deleted_at.desc(), conversations.c.activity.desc()
        )
        with reading(self._engine) as connection:
            return [conversation_from(row) for row in connection.execute(statement).mappings()]

    def erase_due(self) -> list[str]:
        """Delete for good what was deleted too long ago, and return the ids.

        Traces in the files are for the caller to erase.
        """
        is_due = conversations.c.deleted_at <= self._clock() - KEPT
        with writing(self._engine) as connection:
            due = list(connection.scalars(select(conversations.c.id).where(is_due)))
            self._delete(connection, is_due)
            return due
