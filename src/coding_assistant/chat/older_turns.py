"""What is still asked of the turns that a summary stands for, without reading them for each question.

A conversation goes on for hundreds of turns, and a question must not cost more and more for it.
Knows nothing of prompts.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, func, select

from coding_assistant.chat.receipt import turn_tokens
from coding_assistant.chat.records import source_from
from coding_assistant.chat.rendering import models_answering
from coding_assistant.chat.rows import with_sources
from coding_assistant.chat.sources import ShownBefore
from coding_assistant.chat.tables import sources, turns
from coding_assistant.database import reading
from coding_assistant.domain import Chunk, Turn

_CONVERSATIONS_REMEMBERED: Final = 256
"""Of so many conversations the totals are remembered, 300 bytes each."""

_TURNS_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class TurnsTotal:
    """The turns of a conversation up to one of them, in sum.

    ``tokens`` is what they took when they were asked, ``models`` are those that answered. By its id and its
    serial number is known whether the last one is still there.
    """

    last_number: int = 0
    last_serial: int = 0
    last_id: str = ""
    tokens: int = 0
    models: frozenset[str] = frozenset()

    def with_turns(self, added: Sequence[Turn], *, last_serial: int) -> "TurnsTotal":
        """Return the total with the turns that follow."""
        return TurnsTotal(
            last_number=added[-1].number,
            last_serial=last_serial,
            last_id=added[-1].id,
            tokens=self.tokens + sum(map(turn_tokens, added)),
            models=self.models | models_answering(added),
        )


class OlderTurns:
    """Answered turns of the conversations in one database; they never change.

    Blocking, and safe to call from any thread. A turn is read once for the totals: the summaries of a
    conversation stand for more and more of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._totals: OrderedDict[str, TurnsTotal] = OrderedDict()
        self._lock = Lock()

    def total(self, conversation_id: str, last_number: int) -> TurnsTotal:
        """Return the total of a conversation's turns up to a number."""
        with self._lock:
            total = self._totals.get(conversation_id, TurnsTotal())
        with reading(self._engine) as connection:
            if total.last_number > last_number or not _is_true(connection, total):
                total = TurnsTotal()
            while rows := _next_rows(connection, conversation_id, total.last_number, last_number):
                added = with_sources(connection, rows)
                total = total.with_turns(added, last_serial=rows[-1]["serial"])
        with self._lock:
            self._totals[conversation_id] = total
            self._totals.move_to_end(conversation_id)
            if len(self._totals) > _CONVERSATIONS_REMEMBERED:
                self._totals.popitem(last=False)
        return total

    def shown(self, conversation_id: str, last_number: int, chunks: Collection[Chunk]) -> ShownBefore:
        """Return the sources of a conversation's turns up to a number, those that hold a chunk's lines.

        Each comes once, as it was shown last.
        """
        up_to = (turns.c.conversation_id == conversation_id, turns.c.number <= last_number)
        highest = select(func.max(sources.c.number)).join(turns).where(*up_to)
        with reading(self._engine) as connection:
            last_shown = _last_shown(connection, up_to, chunks)
            found = (
                select(sources)
                .join(turns)
                .where(*up_to, turns.c.number.in_(set(last_shown.values())), sources.c.number.in_(last_shown))
                .order_by(turns.c.number)
            )
            rows = {row["number"]: row for row in connection.execute(found).mappings()}
            return ShownBefore(
                summarised=tuple(source_from(row) for row in rows.values()),
                highest=connection.scalar(highest) or 0,
            )


def _last_shown(
    connection: Connection, up_to: Iterable[ColumnElement[bool]], chunks: Collection[Chunk]
) -> dict[int, int]:
    """Return the numbers of the sources that may hold a chunk, each with the last turn that showed it.

    Of a file, a conversation has shown so many places and no more; their texts are left aside.
    """
    lines: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for chunk in chunks:
        lines[str(chunk.path)].append((chunk.start_line, chunk.end_line))
    places = (
        select(
            sources.c.number,
            sources.c.path,
            sources.c.start_line,
            sources.c.end_line,
            func.max(turns.c.number).label("turn"),
        )
        .join(turns)
        .where(*up_to, sources.c.path.in_(lines))
        .group_by(sources.c.number, sources.c.path, sources.c.start_line, sources.c.end_line)
        .order_by(func.max(turns.c.number))
    )
    newest = {row.number: row for row in connection.execute(places)}
    return {
        number: row.turn
        for number, row in newest.items()
        if any(row.start_line <= first and last <= row.end_line for first, last in lines[row.path])
    }


def _is_true(connection: Connection, total: TurnsTotal) -> bool:
    """Return whether the total's last turn is still there: a conversation that was cleared begins anew."""
    if not total.last_id:
        return True
    serial = connection.scalar(select(turns.c.serial).where(turns.c.id == total.last_id))
    return serial == total.last_serial


def _next_rows(
    connection: Connection, conversation_id: str, after_number: int, last_number: int
) -> Sequence[RowMapping]:
    following = (
        select(turns)
        .where(
            turns.c.conversation_id == conversation_id,
            turns.c.number > after_number,
            turns.c.number <= last_number,
        )
        .order_by(turns.c.number)
        .limit(_TURNS_AT_ONCE)
    )
    return connection.execute(following).mappings().all()
