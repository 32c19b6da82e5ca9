"""Finding rows in the conversations' tables, or raising the error that says which one is missing.

It reads on the connection, and so in the transaction, of its caller, and writes nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, RowMapping, ScalarSelect, Table, exists, func, or_, select

from coding_assistant.chat.records import source_from, turn_from
from coding_assistant.chat.tables import conversations, projects, sessions, sources, turns
from coding_assistant.domain import Source, Turn
from coding_assistant.errors import ConversationNotFound, NotFound, ProjectNotFound, SessionNotFound

SESSIONS: Final = select(
    sessions,
    select(func.count())
    .where(conversations.c.session_id == sessions.c.id, conversations.c.deleted_at.is_(None))
    .scalar_subquery()
    .label("conversation_count"),
)
"""Sessions with the number of their conversations."""

_ALL_CONVERSATIONS: Final = select(
    conversations,
    select(func.count())
    .where(turns.c.conversation_id == conversations.c.id)
    .scalar_subquery()
    .label("turn_count"),
)

CONVERSATIONS: Final = _ALL_CONVERSATIONS.where(conversations.c.deleted_at.is_(None))
"""Conversations with the number of their turns, without those in the trash."""

DELETED_CONVERSATIONS: Final = _ALL_CONVERSATIONS.where(conversations.c.deleted_at.is_not(None))
"""Those in the trash alone."""


def require_project(connection: Connection, project_id: str) -> None:
    """Raise ``ProjectNotFound`` unless a project has this id."""
    if connection.scalar(select(projects.c.id).where(projects.c.id == project_id)) is None:
        raise no_project(project_id)


def session_row(connection: Connection, session_id: str) -> RowMapping:
    """Return the row of a session, or raise ``SessionNotFound``."""
    row = connection.execute(SESSIONS.where(sessions.c.id == session_id)).mappings().first()
    if row is None:
        raise SessionNotFound(
            f"There is no session {session_id!r}.", hint="Leave the session out to begin a new one."
        )
    return row


def conversation_row(connection: Connection, conversation_id: str) -> RowMapping:
    """Return the row of a conversation, or raise ``ConversationNotFound``."""
    row = connection.execute(CONVERSATIONS.where(conversations.c.id == conversation_id)).mappings().first()
    if row is None:
        raise no_conversation(conversation_id)
    return row


def turn_row(connection: Connection, turn_id: str) -> RowMapping:
    """Return the row of a turn, or raise ``NotFound``."""
    statement = (
        select(turns).join(conversations).where(turns.c.id == turn_id, conversations.c.deleted_at.is_(None))
    )
    row = connection.execute(statement).mappings().first()
    if row is None:
        raise no_turn(turn_id)
    return row


def no_project(id_or_name: str) -> ProjectNotFound:
    """Return the error for a project that is not there."""
    return ProjectNotFound(
        f"There is no project {id_or_name!r}.", hint="Name a known project, or give its folder."
    )


def no_conversation(conversation_id: str) -> ConversationNotFound:
    """Return the error for a conversation that is not there."""
    return ConversationNotFound(
        f"There is no conversation {conversation_id!r}.",
        hint="List them with: coding-assistant conversations list",
    )


def no_turn(turn_id: str) -> NotFound:
    """Return the error for a turn that is not there."""
    return NotFound(
        f"There is no turn {turn_id!r}.", hint="Its conversation may have been cleared or deleted."
    )


def with_sources(connection: Connection, rows: Sequence[RowMapping]) -> list[Turn]:
    """Return the turns of consecutive rows of one conversation, by number, with their sources."""
    if not rows:
        return []
    statement = (
        select(sources)
        .join(turns)
        .where(
            turns.c.conversation_id == rows[0]["conversation_id"],
            turns.c.number.between(rows[0]["number"], rows[-1]["number"]),
        )
        .order_by(sources.c.number)
    )
    shown: defaultdict[str, list[Source]] = defaultdict(list)
    for row in connection.execute(statement).mappings():
        shown[row["turn_id"]].append(source_from(row))
    return [turn_from(row, shown[row["id"]]) for row in rows]


def holds(text: str) -> ColumnElement[bool]:
    """Say of a conversation that this very text, in any case, is in its title, a question or an answer."""
    in_a_turn = exists().where(
        turns.c.conversation_id == conversations.c.id,
        or_(
            turns.c.question.icontains(text, autoescape=True),
            turns.c.answer_text.icontains(text, autoescape=True),
        ),
    )
    return or_(conversations.c.title.icontains(text, autoescape=True), in_a_turn)


def new_id() -> str:
    """Return an id that nothing else has."""
    return uuid4().hex


def next_activity(table: Table) -> ScalarSelect[int]:
    """Return the number after the highest ``activity`` of the table: its row is then the last used."""
    others = table.alias()
    return select(func.coalesce(func.max(others.c.activity), 0) + 1).scalar_subquery()


def next_serial() -> ScalarSelect[int]:
    """Return the number after the highest ``serial`` of all turns."""
    others = turns.alias()
    return select(func.coalesce(func.max(others.c.serial), 0) + 1).scalar_subquery()
