"""The turns of the conversations, kept: questions, what the model read for them, answers, summaries.

The half of the store that a question is answered with; ``store`` says what holds for all of it.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, ScalarSelect, delete, func, insert, select, update

from coding_assistant.chat.message_search import MessageSearch
from coding_assistant.chat.older_turns import OlderTurns
from coding_assistant.chat.records import (
    answer_values,
    question_values,
    source_values,
    summary_from,
    summary_values,
)
from coding_assistant.chat.rows import (
    conversation_row,
    new_id,
    next_activity,
    next_serial,
    no_conversation,
    no_turn,
    turn_row,
    with_sources,
)
from coding_assistant.chat.tables import conversations, question_keys, sessions, sources, summaries, turns
from coding_assistant.chat.title import title_from
from coding_assistant.database import reading, writing
from coding_assistant.domain import Answer, Finish, Source, Summary, Turn
from coding_assistant.errors import KeyReused

KEY_KEPT: Final = timedelta(days=1)
"""How long a question that is asked again under its key is known for the same one."""


def utc_now() -> datetime:
    """Return the time, as the stores take it unless they are given another clock."""
    return datetime.now(UTC)


class TurnStore:
    """The turns in one database that the caller has opened and migrated."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._clock = clock
        self.messages = MessageSearch(engine)
        self.older = OlderTurns(engine)

    # --- Questions and answers ----------------------------------------------------------------

    def begin_turn(
        self,
        conversation_id: str,
        question: str,
        *,
        model: str = "",
        commit: str = "",
        idempotency_key: str = "",
        request_digest: str = "",
    ) -> Turn:
        """Write a question down; it is on the disk before the model starts.

        Whether an earlier question of the conversation still waits for its answer is not asked here.
        ``model`` is who will answer: all that is known of it, should the answer be interrupted. Under its
        key the turn is found for a day. Raises ``KeyReused`` for a key that has a turn.
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
                id=new_id(),
                conversation_id=conversation_id,
                number=(last or 0) + 1,
                question=question,
                asked_at=now,
                commit=commit,
            )
            connection.execute(
                insert(turns).values(**question_values(turn, model=model), serial=next_serial())
            )
            if turn.number == 1:
                connection.execute(
                    update(conversations)
                    .where(conversations.c.id == conversation_id, ~conversations.c.renamed)
                    .values(title=title_from(question))
                )
            if idempotency_key:
                _keep_key(connection, idempotency_key, request_digest, turn)
        return turn

    def turn_of_key(self, key: str, *, request_digest: str = "") -> Turn | None:
        """Return the turn that was begun under the key within the last day.

        Raises ``KeyReused`` when it was begun by a request of another digest.
        """
        statement = select(question_keys.c.turn_id, question_keys.c.request_digest).where(
            question_keys.c.key == key, question_keys.c.kept_at > self._clock() - KEY_KEPT
        )
        with reading(self._engine) as connection:
            kept = connection.execute(statement).first()
            if kept is None:
                return None
            if kept.request_digest != request_digest:
                raise _key_reused()
            return with_sources(connection, [turn_row(connection, kept.turn_id)])[0]

    def release_key(self, turn_id: str) -> None:
        """Forget the key that a turn was begun under, so that its request can be sent again as a new one."""
        with writing(self._engine) as connection:
            connection.execute(delete(question_keys).where(question_keys.c.turn_id == turn_id))

    def set_sources(self, turn_id: str, shown: Sequence[Source]) -> None:
        """Write down what the model reads for a turn, in place of what was written before.

        A turn shows no number twice; its sources come back in the order of their numbers.
        """
        with writing(self._engine) as connection:
            turn_row(connection, turn_id)
            connection.execute(delete(sources).where(sources.c.turn_id == turn_id))
            if shown:
                connection.execute(insert(sources), [source_values(turn_id, source) for source in shown])

    def set_note(self, turn_id: str, note: str) -> None:
        """Write down what the model is told of a turn's question, in place of what was written before."""
        with writing(self._engine) as connection:
            changed = connection.execute(update(turns).where(turns.c.id == turn_id).values(note=note))
            if not changed.rowcount:
                raise no_turn(turn_id)

    def save_partial(
        self, turn_id: str, text: str, *, tokens: Sequence[int] = (), vocabulary: str = ""
    ) -> None:
        """Keep as much of the answer as there is; a finished answer stays as it is."""
        with writing(self._engine) as connection:
            saved = connection.execute(
                update(turns)
                .where(turns.c.id == turn_id, turns.c.finish.is_(None))
                .values(answer_text=text, answer_tokens=tuple(tokens), vocabulary=vocabulary)
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
                self.messages.add(connection, turns.c.id == turn_id)
                _touch_conversation(connection, row["conversation_id"], self._clock())
            return with_sources(connection, [row])[0]

    def turn(self, turn_id: str) -> Turn:
        """Return one turn; an unknown id raises ``NotFound``."""
        with reading(self._engine) as connection:
            return with_sources(connection, [turn_row(connection, turn_id)])[0]

    def turns(
        self,
        conversation_id: str,
        *,
        limit: int | None = None,
        after_number: int = 0,
        before_number: int | None = None,
    ) -> list[Turn]:
        """Return the newest ``limit`` turns between two numbers, those that are given, the oldest first."""
        newest = (
            select(turns)
            .where(turns.c.conversation_id == conversation_id, turns.c.number > after_number)
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
        with reading(self._engine) as connection:
            count: int = conversation_row(connection, conversation_id)["turn_count"]
            return count

    def mark_interrupted(self) -> int:
        """Finish, with as much as there is of them, the answers that nobody works on, and count them.

        For the start, when no answer can be in the making.
        """
        unfinished = turns.c.finish.is_(None)
        with writing(self._engine) as connection:
            self.messages.add(connection, unfinished)
            interrupted = connection.execute(
                update(turns)
                .where(unfinished)
                .values(finish=Finish.INTERRUPTED.value, finished_at=self._clock())
            )
            return interrupted.rowcount

    # --- What the model was told beside the turns ----------------------------------------------

    def set_primer(self, conversation_id: str, text: str) -> None:
        """Write down what the model is told of the project at the conversation's beginning."""
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(conversations)
                .where(conversations.c.id == conversation_id, conversations.c.deleted_at.is_(None))
                .values(primer=text)
            )
            if not changed.rowcount:
                raise no_conversation(conversation_id)

    def add_summary(self, conversation_id: str, summary: Summary, *, last_turn_id: str) -> None:
        """Write down what stands for the conversation's older turns from now on.

        ``last_turn_id`` is the last of those turns. Raises ``NotFound`` when it is gone: its conversation was
        cleared while the summary was written, and other turns may have its number by now.
        """
        own = summaries.alias()
        number = select(func.coalesce(func.max(own.c.number), 0) + 1).where(
            own.c.conversation_id == conversation_id
        )
        with writing(self._engine) as connection:
            conversation_row(connection, conversation_id)
            if turn_row(connection, last_turn_id)["conversation_id"] != conversation_id:
                raise no_turn(last_turn_id)
            connection.execute(
                insert(summaries).values(
                    **summary_values(conversation_id, summary), number=number.scalar_subquery()
                )
            )

    def summaries(self, conversation_id: str) -> list[Summary]:
        """Return all summaries of a conversation, the oldest first."""
        statement = (
            select(summaries)
            .where(summaries.c.conversation_id == conversation_id)
            .order_by(summaries.c.number)
        )
        with reading(self._engine) as connection:
            conversation_row(connection, conversation_id)
            return [summary_from(row) for row in connection.execute(statement).mappings()]

    def summary(self, conversation_id: str) -> Summary | None:
        """Return the newest summary of a conversation: the one that the model reads."""
        newest = (
            select(summaries)
            .where(summaries.c.conversation_id == conversation_id)
            .order_by(summaries.c.number.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            conversation_row(connection, conversation_id)
            row = connection.execute(newest).mappings().first()
            return summary_from(row) if row else None


def touch_session(connection: Connection, session_id: str | ScalarSelect[str], now: datetime) -> None:
    """Make a session the last used."""
    connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id)
        .values(activity=next_activity(sessions), last_active_at=now)
    )


def _touch_conversation(connection: Connection, conversation_id: str, now: datetime) -> bool:
    """Make a conversation and its session the last used; False when there is no such conversation."""
    touched = connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation_id, conversations.c.deleted_at.is_(None))
        .values(activity=next_activity(conversations), updated_at=now)
    )
    if touched.rowcount:
        its_session = select(conversations.c.session_id).where(conversations.c.id == conversation_id)
        touch_session(connection, its_session.scalar_subquery(), now)
    return bool(touched.rowcount)


def _keep_key(connection: Connection, key: str, request_digest: str, turn: Turn) -> None:
    """Write down that a turn was begun under a key; those of yesterday are forgotten."""
    forgotten = question_keys.c.kept_at <= turn.asked_at - KEY_KEPT
    connection.execute(delete(question_keys).where(forgotten))
    if connection.scalar(select(question_keys.c.key).where(question_keys.c.key == key)) is not None:
        raise _key_reused()
    connection.execute(
        insert(question_keys).values(
            key=key, request_digest=request_digest, turn_id=turn.id, kept_at=turn.asked_at
        )
    )


def _key_reused() -> KeyReused:
    return KeyReused(
        "This Idempotency-Key was given to another question.",
        hint="A key names one request: send a new one with each new question.",
    )
