"""The conversations, kept: projects, sessions, conversations and their turns.

Every method is one transaction, blocking, and safe to call from any thread; what it has returned is on
the disk. Ids are 32 hexadecimal digits, and an unknown one raises the ``NotFound`` of its kind. Order
is told by counters that only grow, never by the clock, which may jump.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Engine, ScalarSelect, delete, func, insert, select, update

from coding_assistant.chat.migrations import MIGRATIONS
from coding_assistant.chat.records import (
    answer_values,
    conversation_from,
    conversation_values,
    project_from,
    question_values,
    session_from,
    source_values,
)
from coding_assistant.chat.rows import (
    CONVERSATIONS,
    SESSIONS,
    conversation_row,
    holds,
    next_activity,
    no_conversation,
    no_project,
    require_project,
    session_row,
    turn_row,
    with_sources,
)
from coding_assistant.chat.tables import conversations, projects, sessions, sources, turns
from coding_assistant.chat.title import NEW_TITLE, title_from
from coding_assistant.database import erase_traces, migrate, open_database, reading, writing
from coding_assistant.domain import Answer, Conversation, Finish, Project, Session, Source, Turn
from coding_assistant.errors import InvalidProject


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ConversationStore:
    """All that is kept of the conversations, in one database that the caller has opened and migrated."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._engine = engine
        self._clock = clock

    @classmethod
    def open(cls, file: Path, *, clock: Callable[[], datetime] = _utc_now) -> "ConversationStore":
        """Open the database in the file, made if it is missing, and bring its tables up to date.

        Raises ``DatabaseDamaged``, ``DatabaseTooNew`` or ``DataDirectoryUnusable``; the file is then as
        it was.
        """
        engine = open_database(file)
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            migrate(engine, MIGRATIONS)
            undo.pop_all()
        return cls(engine, clock=clock)

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
            known = (
                connection.execute(select(projects).where(projects.c.root == str(root))).mappings().first()
            )
            if known is not None:
                return project_from(known)
            project = Project(id=_new_id(), root=root, name=_free_name(connection, name))
            connection.execute(insert(projects).values(id=project.id, root=str(root), name=project.name))
            return project

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
        session = Session(id=_new_id(), created_at=now, last_active_at=now)
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
        """Delete a session with its conversations; return how many conversations and turns are gone."""
        with writing(self._engine) as connection:
            session_row(connection, session_id)
            lost_turns = connection.scalar(
                select(func.count())
                .select_from(turns.join(conversations))
                .where(conversations.c.session_id == session_id)
            )
            lost = connection.execute(delete(conversations).where(conversations.c.session_id == session_id))
            connection.execute(delete(sessions).where(sessions.c.id == session_id))
        erase_traces(self._engine)
        return lost.rowcount, lost_turns or 0

    # --- Conversations ------------------------------------------------------------------------

    def create_conversation(self, *, session_id: str, project_id: str) -> Conversation:
        """Begin a conversation about a project, in a session."""
        now = self._clock()
        conversation = Conversation(
            id=_new_id(),
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
            _touch_session(connection, session_id, now)
        return conversation

    def conversation(self, conversation_id: str) -> Conversation:
        """Return one conversation."""
        with reading(self._engine) as connection:
            return conversation_from(conversation_row(connection, conversation_id))

    def conversations(
        self, *, session_id: str | None = None, project_id: str | None = None, containing: str | None = None
    ) -> list[Conversation]:
        """Return conversations, archived ones too: the pinned first, then the last used first.

        ``containing`` keeps those that hold this very text, in any case, in their title, a question or
        an answer.
        """
        statement = CONVERSATIONS.order_by(conversations.c.pinned.desc(), conversations.c.activity.desc())
        with reading(self._engine) as connection:
            if session_id is not None:
                session_row(connection, session_id)
                statement = statement.where(conversations.c.session_id == session_id)
            if project_id is not None:
                require_project(connection, project_id)
                statement = statement.where(conversations.c.project_id == project_id)
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
                    update(conversations).where(conversations.c.id == conversation_id).values(changes)
                )
            return conversation_from(conversation_row(connection, conversation_id))

    def clear_conversation(self, conversation_id: str) -> int:
        """Empty a conversation and return how many turns are gone.

        The next question is its first again: number 1, and the title's origin, unless the user gave one.
        """
        with writing(self._engine) as connection:
            conversation_row(connection, conversation_id)
            lost = connection.execute(delete(turns).where(turns.c.conversation_id == conversation_id))
            _reset_titles(connection, conversations.c.id == conversation_id)
        erase_traces(self._engine)
        return lost.rowcount

    def clear_all(self) -> tuple[int, int]:
        """Empty every conversation; return how many conversations had turns, and how many turns."""
        with writing(self._engine) as connection:
            cleared = connection.scalar(select(func.count(turns.c.conversation_id.distinct())))
            lost = connection.execute(delete(turns))
            _reset_titles(connection)
        erase_traces(self._engine)
        return cleared or 0, lost.rowcount

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation with its turns and their sources."""
        with writing(self._engine) as connection:
            lost = connection.execute(delete(conversations).where(conversations.c.id == conversation_id))
            if not lost.rowcount:
                raise no_conversation(conversation_id)
        erase_traces(self._engine)

    # --- Turns --------------------------------------------------------------------------------

    def begin_turn(self, conversation_id: str, question: str, *, model: str = "") -> Turn:
        """Write a question down; it is on the disk before the model starts.

        Whether an earlier question of the conversation still waits for its answer is not asked here.
        ``model`` is who will answer: all that is known of it, should the answer be interrupted.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            # First, for where writers are not alone this row is what they queue for: numbers stay unique.
            if not _touch_conversation(connection, conversation_id, now):
                raise no_conversation(conversation_id)
            last = connection.scalar(
                select(func.max(turns.c.number)).where(turns.c.conversation_id == conversation_id)
            )
            turn = Turn(
                id=_new_id(),
                conversation_id=conversation_id,
                number=(last or 0) + 1,
                question=question,
                asked_at=now,
            )
            connection.execute(insert(turns).values(question_values(turn, model=model)))
            if turn.number == 1:
                connection.execute(
                    update(conversations)
                    .where(conversations.c.id == conversation_id, ~conversations.c.renamed)
                    .values(title=title_from(question))
                )
        return turn

    def set_sources(self, turn_id: str, shown: Sequence[Source]) -> None:
        """Write down what the model reads for a turn, in place of what was written before.

        A turn shows no number twice; its sources come back in the order of their numbers.
        """
        with writing(self._engine) as connection:
            turn_row(connection, turn_id)
            connection.execute(delete(sources).where(sources.c.turn_id == turn_id))
            if shown:
                connection.execute(insert(sources), [source_values(turn_id, source) for source in shown])

    def save_partial(self, turn_id: str, text: str) -> None:
        """Keep as much of the answer as there is; a finished answer stays as it is."""
        with writing(self._engine) as connection:
            saved = connection.execute(
                update(turns).where(turns.c.id == turn_id, turns.c.finish.is_(None)).values(answer_text=text)
            )
            if not saved.rowcount:
                turn_row(connection, turn_id)

    def finish_turn(self, turn_id: str, answer: Answer) -> Turn:
        """Write the answer down and return the turn as it is kept. The first answer of a turn stays."""
        with writing(self._engine) as connection:
            finished = connection.execute(
                update(turns)
                .where(turns.c.id == turn_id, turns.c.finish.is_(None))
                .values(answer_values(answer))
            )
            row = turn_row(connection, turn_id)
            if finished.rowcount:
                _touch_conversation(connection, row["conversation_id"], self._clock())
            return with_sources(connection, [row])[0]

    def turn(self, turn_id: str) -> Turn:
        """Return one turn; an unknown id raises ``NotFound``."""
        with reading(self._engine) as connection:
            return with_sources(connection, [turn_row(connection, turn_id)])[0]

    def turns(
        self, conversation_id: str, *, limit: int | None = None, before_number: int | None = None
    ) -> list[Turn]:
        """Return the newest ``limit`` turns (of those before a number, if given), the oldest first."""
        newest = (
            select(turns)
            .where(turns.c.conversation_id == conversation_id)
            .order_by(turns.c.number.desc())
            .limit(limit)
        )
        if before_number is not None:
            newest = newest.where(turns.c.number < before_number)
        with reading(self._engine) as connection:
            conversation_row(connection, conversation_id)
            rows = connection.execute(newest).mappings().all()
            return with_sources(connection, rows[::-1])

    def turn_count(self, conversation_id: str) -> int:
        """Return how many questions a conversation holds."""
        return self.conversation(conversation_id).turn_count

    def mark_interrupted(self) -> int:
        """Finish, with as much as there is of them, the answers that nobody works on, and count them.

        For the start, when no answer can be in the making.
        """
        with writing(self._engine) as connection:
            interrupted = connection.execute(
                update(turns)
                .where(turns.c.finish.is_(None))
                .values(finish=Finish.INTERRUPTED.value, finished_at=self._clock())
            )
            return interrupted.rowcount


def _new_id() -> str:
    return uuid4().hex


def _touch_conversation(connection: Connection, conversation_id: str, now: datetime) -> bool:
    """Make a conversation and its session the last used; False when there is no such conversation."""
    touched = connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(activity=next_activity(conversations), updated_at=now)
    )
    if touched.rowcount:
        its_session = select(conversations.c.session_id).where(conversations.c.id == conversation_id)
        _touch_session(connection, its_session.scalar_subquery(), now)
    return bool(touched.rowcount)


def _touch_session(connection: Connection, session_id: str | ScalarSelect[str], now: datetime) -> None:
    connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id)
        .values(activity=next_activity(sessions), last_active_at=now)
    )


def _reset_titles(connection: Connection, *which: ColumnElement[bool]) -> None:
    """Take back titles that came from questions; what the user has chosen stays."""
    connection.execute(update(conversations).where(~conversations.c.renamed, *which).values(title=NEW_TITLE))


def _require_text(root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise InvalidProject(
            f"The folder's path is not valid Unicode: {root!r}.", hint="Rename the folder."
        ) from error


def _free_name(connection: Connection, name: str) -> str:
    taken = set(connection.scalars(select(projects.c.name)))
    if name not in taken:
        return name
    return next(free for number in count(2) if (free := f"{name}-{number}") not in taken)
