"""The tables of the conversations, in types that every database has.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

import sys
from array import array
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

ID_LENGTH: Final = 32
"""A UUID in hexadecimal."""

WORD_LENGTH: Final = 32
"""What fits any member of the domain's enumerations."""

KEY_LENGTH: Final = 255
"""The longest key that a client may give a question."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware of its zone outside, UTC inside, also where the database knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- SQLAlchemy's signature
        """Store UTC; a time without a zone would be a guess, and is refused."""
        if value is not None and value.tzinfo is None:
            raise ValueError("A time without a zone cannot be stored.")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- SQLAlchemy's signature
        """Return UTC, whether or not the database has kept the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Tokens(TypeDecorator[tuple[int, ...]]):
    """Tokens of a vocabulary, four bytes each, the lowest first; none are NULL.

    As JSON they would take half as much again, and an answer has hundreds.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: tuple[int, ...] | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002 -- SQLAlchemy's signature
        """Pack the tokens."""
        return _in_one_order(array("I", value)).tobytes() if value else None

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> tuple[int, ...]:  # noqa: ARG002 -- SQLAlchemy's signature
        """Unpack the tokens."""
        return tuple(_in_one_order(array("I", value or b"")))


def _in_one_order(tokens: "array[int]") -> "array[int]":
    """Return what a little-endian machine would have: a database may be carried to another one."""
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens


metadata = MetaData(
    # Names for all constraints, so that a later migration can name what it drops.
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

projects = Table(
    "projects",
    metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("root", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    # Grows with each use: what is newest is told by it and not by the clock, which may jump.
    Column("activity", Integer, nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_active_at", UtcDateTime, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("session_id", ForeignKey(sessions.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("project_id", ForeignKey(projects.c.id), nullable=False, index=True),
    Column("title", Text, nullable=False),
    Column("renamed", Boolean, nullable=False),  # the title is the user's, and stays
    Column("pinned", Boolean, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("activity", Integer, nullable=False, index=True),  # as in sessions
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("primer", Text, nullable=False, server_default=""),
    Column("deleted_at", UtcDateTime),  # NULL unless it lies in the trash
    Column("model", Text),  # NULL unless one was chosen for it
)

turns = Table(
    "turns",
    metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("conversation_id", ForeignKey(conversations.c.id, ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("question", Text, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("model", Text, nullable=False),
    Column("answer_text", Text, nullable=False),  # while the model is at work: as much as there is
    Column("finish", String(WORD_LENGTH), index=True),  # NULL while the model is at work
    Column("finished_at", UtcDateTime),
    Column("citations", JSON(none_as_null=True)),
    Column("unknown_citations", JSON(none_as_null=True)),
    Column("receipt", JSON(none_as_null=True)),
    Column("timings", JSON(none_as_null=True)),
    Column("failure", Text, nullable=False),
    Column("answer_tokens", Tokens),
    Column("vocabulary", Text, nullable=False, server_default=""),
    Column("commit_hash", Text, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    Column("grounding", JSON(none_as_null=True)),
    # Grows over all conversations: the newest is told by it, and the words of messages are found by it.
    Column("serial", Integer, nullable=False, server_default=text("0"), index=True, unique=True),
    UniqueConstraint("conversation_id", "number"),
)

sources = Table(
    "sources",
    metadata,
    Column("turn_id", ForeignKey(turns.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("start_line", Integer, nullable=False),
    Column("end_line", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("language", Text),
    Column("symbol", Text),
    Column("kind", String(WORD_LENGTH), nullable=False),
    Column("digest", Text, nullable=False),
    Column("context", JSON(none_as_null=True)),  # NULL for a chunk that has none
)

summaries = Table(
    "summaries",
    metadata,
    Column("conversation_id", ForeignKey(conversations.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # the newest summary of a conversation has the highest
    Column("last_turn", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("origin", String(WORD_LENGTH), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
)

question_keys = Table(
    "question_keys",
    metadata,
    Column("key", String(KEY_LENGTH), primary_key=True),
    Column("request_digest", Text, nullable=False),
    Column("turn_id", ForeignKey(turns.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("kept_at", UtcDateTime, nullable=False),
)
