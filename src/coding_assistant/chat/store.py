"""The conversations, kept: projects, sessions, conversations and their turns.

Every method is one transaction, blocking, and safe to call from any thread; what it has returned is on
the disk. Ids are 32 hexadecimal digits, and an unknown one raises the ``NotFound`` of its kind. Order
is told by counters that only grow, never by the clock, which may jump. What lies in the trash is unknown
to everything but ``trash``.
"""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select, true, update

from coding_assistant.chat.arrivals import Arrivals
from coding_assistant.chat.export import ConversationDocument
from coding_assistant.chat.migrations import MIGRATIONS
from coding_assistant.chat.project_rows import add_project, project_at
from coding_assistant.chat.records import (
    conversation_from,
    conversation_values,
    project_from,
    session_from,
)
from coding_assistant.chat.rows import (
    CONVERSATIONS,
    SESSIONS,
    conversation_row,
    holds,
    new_id,
    next_activity,
    no_conversation,
    no_project,
    require_project,
    session_row,
)
from coding_assistant.chat.tables import conversations, projects, sessions, summaries, turns
from coding_assistant.chat.title import NEW_TITLE
from coding_assistant.chat.trash import Trash
from coding_assistant.chat.turn_store import TurnStore, touch_session, utc_now
from coding_assistant.database import erase_traces, migrate, open_database, reading, writing
from coding_assistant.domain import Conversation, Project, Session
from coding_assistant.errors import InvalidProject


class ConversationStore(TurnStore):
    """All that is kept of the conversations, in one database that the caller has opened and migrated."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(engine, clock=clock)
        self.arrivals = Arrivals(engine, messages=self.messages, clock=clock)
        self.trash = Trash(engine, clock=clock, delete=self._delete)

    @classmethod
    def open(cls, file: Path, *, clock: Callable[[], datetime] = utc_now) -> "ConversationStore":
        """Open the database in the file, made if it is missing, and bring its tables up to date.

        Raises ``DatabaseDamaged``, ``DatabaseTooNew`` or ``DataDirectoryUnusable``; the file is then as
        it was.
        """
        engine = open_database(file)
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            migrate(engine, MIGRATIONS)
            store = cls(engine, clock=clock)
            store.messages.prepare()
            undo.pop_all()
        return store

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    # --- Projects -----------------------------------------------------------------------------

    def add_project(self, root: Path, name: str) -> Project:
        """Make a folder known and return it; a known one is returned as it is.

        No two projects have one name: the second is called ``name-2``.
        """
        _require_text(root)
        with writing(self._engine) as connection:
            return project_at(connection, root) or add_project(connection, root, name)

    def project(self, id_or_name: str) -> Project:
        """Return the project with this id, or else with this name."""
        with reading(self._engine) as connection:
            for column in (projects.c.id, projects.c.name):
                row = connection.execute(select(projects).where(column == id_or_name)).mappings().first()
                if row is not None:
                    return project_from(row)
        raise no_project(id_or_name)

    def projects(self) -> list[Project]:
        """Return all projects by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(projects).order_by(projects.c.name)).mappings()
            return [project_from(row) for row in rows]

    # --- Sessions -----------------------------------------------------------------------------

    def create_session(self) -> Session:
        """Begin a session."""
        now = self._clock()
        session = Session(id=new_id(), created_at=now, last_active_at=now)
        with writing(self._engine) as connection:
            connection.execute(
                insert(sessions).values(
                    id=session.id, activity=next_activity(sessions), created_at=now, last_active_at=now
                )
            )
        return session

    def session(self, session_id: str) -> Session:
        """Return one session."""
        with reading(self._engine) as connection:
            return session_from(session_row(connection, session_id))

    def sessions(self) -> list[Session]:
        """Return all sessions, the last used first."""
        newest_first = SESSIONS.order_by(sessions.c.activity.desc())
        with reading(self._engine) as connection:
            return [session_from(row) for row in connection.execute(newest_first).mappings()]

    def clear_session(self, session_id: str) -> tuple[int, int]:
        """Delete a session with its conversations; return how many conversations and turns are gone.

        What lies in the trash goes with it, and is not counted.
        """
        with writing(self._engine) as connection:
            lost: int = session_row(connection, session_id)["conversation_count"]
            lost_turns = connection.scalar(
                select(func.count())
                .select_from(turns.join(conversations))
                .where(conversations.c.session_id == session_id, conversations.c.deleted_at.is_(None))
            )
            self._delete(connection, conversations.c.session_id == session_id)
            connection.execute(delete(sessions).where(sessions.c.id == session_id))
        self.erase_traces()
        return lost, lost_turns or 0

    # --- Conversations ------------------------------------------------------------------------

    def create_conversation(self, *, session_id: str, project_id: str) -> Conversation:
        """Begin a conversation about a project, in a session."""
        now = self._clock()
        conversation = Conversation(
            id=new_id(),
            session_id=session_id,
            project_id=project_id,
            title=NEW_TITLE,
            created_at=now,
            updated_at=now,
        )
        with writing(self._engine) as connection:
            session_row(connection, session_id)
            require_project(connection, project_id)
            connection.execute(
                insert(conversations).values(
                    **conversation_values(conversation),
                    renamed=False,
                    activity=next_activity(conversations),
                )
            )
            touch_session(connection, session_id, now)
        return conversation

    def conversation(self, conversation_id: str) -> Conversation:
        """Return one conversation."""
        with reading(self._engine) as connection:
            return conversation_from(conversation_row(connection, conversation_id))

    def conversations(
        self,
        *,
        session_id: str | None = None,
        project_id: str | None = None,
        containing: str | None = None,
        archived: bool | None = None,
    ) -> list[Conversation]:
        """Return conversations: the pinned first, then the last used first.

        ``containing`` keeps those that hold this very text, in any case, in their title, a question or
        an answer; ``archived`` those that are, or those that are not.
        """
        statement = CONVERSATIONS.order_by(conversations.c.pinned.desc(), conversations.c.activity.desc())
        with reading(self._engine) as connection:
            if session_id is not None:
                session_row(connection, session_id)
                statement = statement.where(conversations.c.session_id == session_id)
            if project_id is not None:
                require_project(connection, project_id)
                statement = statement.where(conversations.c.project_id == project_id)
            if archived is not None:
                statement = statement.where(conversations.c.archived == archived)
            if containing is not None:
                statement = statement.where(holds(containing))
            return [conversation_from(row) for row in connection.execute(statement).mappings()]

    def change_conversation(
        self,
        conversation_id: str,
        *,
        title: str | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
    ) -> Conversation:
        """Change what is given and return the conversation. A title given here is never overwritten."""
        changes: dict[str, str | bool] = {}
        if title is not None:
            changes |= {"title": title, "renamed": True}
        if pinned is not None:
            changes["pinned"] = pinned
        if archived is not None:
            changes["archived"] = archived
        with writing(self._engine) as connection:
            if changes:
                connection.execute(
                    update(conversations)
                    .where(conversations.c.id == conversation_id, conversations.c.deleted_at.is_(None))
                    .values(changes)
                )
            return conversation_from(conversation_row(connection, conversation_id))

    def choose_model(self, conversation_id: str, model: str | None) -> Conversation:
        """Note which model the conversation goes on with, None: the settings', and return it."""
        with writing(self._engine) as connection:
            connection.execute(
                update(conversations)
                .where(conversations.c.id == conversation_id, conversations.c.deleted_at.is_(None))
                .values(model=model)
            )
            return conversation_from(conversation_row(connection, conversation_id))

    def clear_conversation(self, conversation_id: str) -> int:
        """Empty a conversation and return how many turns are gone.

        The next question is its first again: number 1, and the title's origin, unless the user gave one.
        """
        with writing(self._engine) as connection:
            conversation_row(connection, conversation_id)
            lost = self._empty(connection, conversations.c.id == conversation_id)
        self.erase_traces()
        return lost

    def clear_all(self) -> tuple[int, int]:
        """Empty every conversation; return how many conversations had turns, and how many turns.

        What lies in the trash is deleted for good, and is not counted.
        """
        with writing(self._engine) as connection:
            self._delete(connection, conversations.c.deleted_at.is_not(None))
            cleared = connection.scalar(select(func.count(turns.c.conversation_id.distinct())))
            lost = self._empty(connection, true())
        self.erase_traces()
        return cleared or 0, lost

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation for good, also from the trash, with all that belongs to it."""
        with writing(self._engine) as connection:
            if not self._delete(connection, conversations.c.id == conversation_id):
                raise no_conversation(conversation_id)
        self.erase_traces()

    def erase_due(self) -> list[str]:
        """Delete for good what was deleted too long ago, and return the ids."""
        due = self.trash.erase_due()
        if due:
            self.erase_traces()
        return due

    def document(self, conversation_id: str) -> ConversationDocument:
        """Return all that is kept of a conversation."""
        conversation = self.conversation(conversation_id)
        return ConversationDocument(
            conversation=conversation,
            project=self.project(conversation.project_id),
            turns=tuple(self.turns(conversation_id)),
            summaries=tuple(self.summaries(conversation_id)),
        )

    def erase_traces(self) -> None:
        """Let nothing remain in the files of what was deleted."""
        self.messages.erase_traces()
        erase_traces(self._engine)

    def _delete(self, connection: Connection, which: ColumnElement[bool]) -> int:
        """Delete conversations with all that belongs to them, and count them."""
        self.messages.remove(connection, turns.c.conversation_id.in_(select(conversations.c.id).where(which)))
        return connection.execute(delete(conversations).where(which)).rowcount

    def _empty(self, connection: Connection, which: ColumnElement[bool]) -> int:
        """Have conversations begin anew, and return how many turns are gone.

        Titles that came from questions are taken back; what the user has chosen stays.
        """
        emptied = select(conversations.c.id).where(which)
        self.messages.remove(connection, turns.c.conversation_id.in_(emptied))
        lost = connection.execute(delete(turns).where(turns.c.conversation_id.in_(emptied)))
        connection.execute(delete(summaries).where(summaries.c.conversation_id.in_(emptied)))
        connection.execute(update(conversations).where(which).values(primer=""))
        given = update(conversations).where(which, ~conversations.c.renamed)
        connection.execute(given.values(title=NEW_TITLE))
        return lost.rowcount


def _require_text(root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise InvalidProject(
            f"The folder's path is not valid Unicode: {root!r}.", hint="Rename the folder."
        ) from error
