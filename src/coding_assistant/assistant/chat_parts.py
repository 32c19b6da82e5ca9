"""The parts of a chat with one model, wired: what answers, and what the model does while nobody asks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from coding_assistant.chat.ahead import ReadingAhead
from coding_assistant.chat.ask import Answering
from coding_assistant.chat.compacting import Compacting
from coding_assistant.chat.fronts import CodeAskedAbout, Fronts
from coding_assistant.chat.idle import Attention, IdleWork
from coding_assistant.chat.model import ChatModel
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import ModelSpec
from coding_assistant.inference.caches import SlotCaches
from coding_assistant.inference.reading_speed import ReadingSpeeds
from coding_assistant.inference.slots import SlotTable
from coding_assistant.inference.snapshots import SnapshotFolder
from coding_assistant.protocols import Engine
from coding_assistant.settings import Settings

SPEEDS_FILE = "reading-speeds.json"


@dataclass(frozen=True, slots=True)
class ChatParts:
    """A chat with one model. ``ahead`` and ``idle`` do their work in tasks that the owner starts and ends."""

    model: ChatModel
    attention: Attention
    answering: Answering
    ahead: ReadingAhead
    idle: IdleWork

    async def close(self) -> None:
        """Save what the model has read, then end it."""
        if self.model.engine.is_loaded:
            await self.model.caches.save_all()
        await self.model.engine.close()


def make_chat_model(
    spec: ModelSpec,
    engine: Engine,
    snapshots: SnapshotFolder,
    speeds: ReadingSpeeds,
    settings: Settings,
) -> ChatModel:
    """Return the model with what is remembered of it; nothing is loaded."""
    slots = SlotTable(
        spec.slots,
        patience_seconds=settings.patience_seconds,
        longest_queue=settings.longest_queue,
    )
    return ChatModel(
        spec,
        engine,
        SlotCaches(engine, slots, snapshots),
        speeds,
        first_token_seconds=settings.first_token_seconds,
        source_tokens=settings.source_tokens,
    )


def make_chat_parts(
    model: ChatModel,
    store: ConversationStore,
    attention: Attention,
    asked_about: Callable[[], Iterable[CodeAskedAbout]],
    *,
    primer_tokens: int,
) -> ChatParts:
    """Return the parts around a model."""
    fronts = Fronts(model, asked_about, most_tokens=primer_tokens)
    ahead = ReadingAhead(store, model, fronts, attention)
    compacting = Compacting(store, model)
    return ChatParts(
        model,
        attention,
        Answering(store, model, fronts, ahead, compacting),
        ahead,
        # The latest answer is saved first, for it costs least; then what a question would have to wait for.
        IdleWork(attention, [model.caches.save_idle, compacting.summarise_next, fronts.read_next]),
    )
