"""Conversations from elsewhere, put among those that are kept: all of one, or nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, insert, select

from coding_assistant.chat.export import ConversationDocument
from coding_assistant.chat.message_search import MessageSearch
from coding_assistant.chat.project_rows import add_project, project_at, project_called
from coding_assistant.chat.records import (
    answer_values,
    conversation_from,
    conversation_values,
    question_values,
    source_values,
    summary_values,
)
from coding_assistant.chat.rows import conversation_row, new_id, next_activity, next_serial
from coding_assistant.chat.tables import conversations, sessions, sources, summaries, turns
from coding_assistant.chat.title import NEW_TITLE, title_from
from coding_assistant.database import writing
from coding_assistant.domain import Conversation, Project, Turn
from coding_assistant.errors import AlreadyImported, InvalidProject
from coding_assistant.project.walk import open_root


class Arrivals:
    """Takes in what ``importing.read_document`` has checked."""

    def __init__(self, engine: Engine, *, messages: MessageSearch, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._messages = messages
        self._clock = clock

    def add(self, document: ConversationDocument, *, as_copy: bool = False) -> Conversation:
        """Keep a conversation, and return it as it is kept: under its own ids where they are free.

        Its project is the one in that folder, which is made known if it is one that can be asked about;
        otherwise the one of that name; otherwise one without a folder, so that what was said can be read.
        Raises ``AlreadyImported`` for an id that is here, also in the trash, unless it is to be kept
        ``as_copy``.
        """
        folder = _folder_at(document.project.root)  # before the transaction: a disk may be slow to answer
        with writing(self._engine) as connection:
            is_here = _is_taken(connection, conversations, document.conversation.id)
            if is_here and not as_copy:
                raise _already_here(document.conversation)
            conversation = replace(
                document.conversation,
                id=new_id() if is_here else document.conversation.id,
                project_id=_project_of(connection, document.project, folder).id,
            )
            self._require_session(connection, conversation.session_id)
            _insert_conversation(connection, conversation, document)
            for turn in document.turns:
                _insert_turn(connection, turn, conversation_id=conversation.id)
            for number, summary in enumerate(document.summaries, start=1):
                values = summary_values(conversation.id, summary)
                connection.execute(insert(summaries).values(**values, number=number))
            self._messages.add(connection, turns.c.conversation_id == conversation.id)
            return conversation_from(conversation_row(connection, conversation.id))

    def _require_session(self, connection: Connection, session_id: str) -> None:
        """Make the session if there is none of this id."""
        if not _is_taken(connection, sessions, session_id):
            now = self._clock()
            connection.execute(
                insert(sessions).values(
                    id=session_id, activity=next_activity(sessions), created_at=now, last_active_at=now
                )
            )


def _folder_at(root: Path) -> Path | None:
    """Return the folder that a project may be in, as it is when a user names it; None for any other."""
    try:
        return open_root(root)
    except InvalidProject:
        return None


def _project_of(connection: Connection, project: Project, folder: Path | None) -> Project:
    if folder is not None:
        return project_at(connection, folder) or add_project(connection, folder, project.name)
    known = project_at(connection, project.root) or project_called(connection, project.name)
    return known or add_project(connection, project.root, project.name)


def _insert_conversation(
    connection: Connection, conversation: Conversation, document: ConversationDocument
) -> None:
    """Write the conversation down; a title that no question gives is the user's, and stays."""
    given = title_from(document.turns[0].question) if document.turns else NEW_TITLE
    connection.execute(
        insert(conversations).values(
            **conversation_values(conversation),
            renamed=conversation.title != given,
            activity=next_activity(conversations),
        )
    )


def _insert_turn(connection: Connection, turn: Turn, *, conversation_id: str) -> None:
    if turn.answer is None:
        raise ValueError("a turn that is imported has its answer")
    kept = replace(
        turn,
        id=new_id() if _is_taken(connection, turns, turn.id) else turn.id,
        conversation_id=conversation_id,
    )
    values = {**question_values(kept, model=turn.answer.model), **answer_values(turn.answer)}
    connection.execute(insert(turns).values(**values, serial=next_serial()))
    if turn.sources:
        connection.execute(insert(sources), [source_values(kept.id, source) for source in turn.sources])


def _is_taken(connection: Connection, table: Table, row_id: str) -> bool:
    return connection.scalar(select(table.c.id).where(table.c.id == row_id)) is not None


def _already_here(conversation: Conversation) -> AlreadyImported:
    return AlreadyImported(
        f"The conversation {conversation.id} is here already, perhaps in the trash.",
        hint="From the trash `conversations restore` brings it back. Else import it as a copy (`--copy`, or"
        " `?copy=true`), or delete the other one permanently first.",
    )
