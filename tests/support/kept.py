"""Conversations to keep: what tests of the store and of its neighbours write down."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath

from coding_assistant.chat.store import ConversationStore
from coding_assistant.database import open_database
from coding_assistant.domain import Answer, Chunk, ChunkKind, ContextLine, Conversation, Finish, Source, Turn

NOON = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def new_store(file: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> ConversationStore:
    """Return a store in a new file whose tables are copied: 2 ms of processor time, and to migrate 26.

    For tests of what is kept; those of the opening itself call ``ConversationStore.open``.
    """
    file.write_bytes(_empty_database())
    return ConversationStore(open_database(file), clock=clock)


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "conversations.db"
        ConversationStore.open(file).close()
        return file.read_bytes()


def begin(store: ConversationStore, *, session_id: str | None = None) -> Conversation:
    """Begin a conversation about the shop, in a session of its own unless one is named."""
    project = store.add_project(Path("/somewhere/shop"), "shop")
    return store.create_conversation(
        session_id=session_id or store.create_session().id, project_id=project.id
    )


def said(
    text: str, *, finish: Finish = Finish.COMPLETE, tokens: Sequence[int] = (), vocabulary: str = ""
) -> Answer:
    """Return an answer of a model."""
    return Answer(
        text=text,
        finish=finish,
        model="a-model",
        finished_at=NOON,
        tokens=tuple(tokens),
        vocabulary=vocabulary,
    )


def source(number: int, text: str = "def pay():\n    ...\n") -> Source:
    """Return a source; those of odd numbers have context."""
    context = (ContextLine(1, "class Till:"),) if number % 2 else ()
    chunk = Chunk(PurePosixPath("shop/pay.py"), 3, 4, text, "python", "pay", ChunkKind.FUNCTION, context)
    return Source(number=number, chunk=chunk, digest=chunk.digest)


def talk(store: ConversationStore, conversation: Conversation, question: str, answer: str) -> Turn:
    """Have a question answered."""
    return store.finish_turn(store.begin_turn(conversation.id, question).id, said(answer))
