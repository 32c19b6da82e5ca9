"""The chats of this process: one with each model that somebody asked for, made when it is first asked for.

All of them share one conversation store, one folder of snapshots, one machine's memory and one attention: a
question to any model stops what goes on for nobody with all the others.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from coding_assistant.assistant.chat_parts import SPEEDS_FILE, ChatParts, make_chat_model, make_chat_parts
from coding_assistant.assistant.resident import Plan, Resident, Tell
from coding_assistant.assistant.residents import Residents
from coding_assistant.assistant.sizing import memory_plan
from coding_assistant.assistant.wiring import chosen_model, open_catalog
from coding_assistant.chat.fronts import CodeAskedAbout
from coding_assistant.chat.idle import Attention
from coding_assistant.chat.store import ConversationStore
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import MemoryPlan, ModelSpec
from coding_assistant.errors import CodingAssistantError, ModelUnknown
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.reading_speed import ReadingSpeeds
from coding_assistant.inference.snapshots import SnapshotFolder
from coding_assistant.protocols import Engine
from coding_assistant.settings import Settings

MEGABYTE = 1_000_000
SECONDS_A_MINUTE = 60.0

MakeEngine: TypeAlias = Callable[[Catalog, ModelSpec, Settings], Engine]
"""Returns the engine for a model, not loaded; may raise ``ModelMissing``."""

_Key: TypeAlias = tuple[str, Path | None]
"""A name of the catalog, or a file that is named as such: two of these may have one name."""


@dataclass(frozen=True, slots=True)
class Chat:
    """The chat with one model, and that model's place in memory."""

    parts: ChatParts
    resident: Resident

    @property
    def spec(self) -> ModelSpec:
        """The model's entry, with what the settings say of it."""
        return self.parts.model.spec

    @property
    def name(self) -> str:
        """The name under which the model's answers are kept."""
        return self.resident.name

    @asynccontextmanager
    async def answering(self, tell: Tell) -> AsyncGenerator[None, None]:
        """Have the model for a question inside; ``tell`` is told what the question waits for."""
        # In use first: a load for who read ahead is then not given up, but becomes the question's.
        async with self.resident.in_use(tell):
            with self.parts.attention.question():
                yield


class Chats:
    """Makes, finds and closes chats. ``tasks`` run what they do unasked, and end with the owner."""

    def __init__(
        self,
        settings: Settings,
        store: ConversationStore,
        asked_about: Callable[[], Iterable[CodeAskedAbout]],
        tasks: TaskGroup,
        *,
        make_engine: MakeEngine,
    ) -> None:
        self.attention = Attention()
        self._settings = settings
        self._store = store
        self._asked_about = asked_about
        self._tasks = tasks
        self._make_engine = make_engine
        self._residents = Residents(self.attention, tasks, patience_seconds=settings.patience_seconds)
        self._snapshots = SnapshotFolder(
            DataDirectory(settings.home).snapshots, most_bytes=settings.snapshot_megabytes * MEGABYTE
        )
        self._speeds: ReadingSpeeds | None = None
        self._made: dict[_Key, Chat] = {}
        self._known: dict[str | None, Chat] = {}  # by what was asked for, None: the settings' own
        self._making = anyio.Lock()

    async def of(self, model: str | None) -> Chat:
        """Return the chat with a model, named as in the settings; None: the one that the settings choose.

        Raises ``ModelUnknown``, ``ModelMissing`` and what reading a model's file raises. Nothing is loaded.
        """
        async with self._making:
            if model not in self._known:
                spec, engine, plan = await to_thread.run_sync(self._prepare, model)
                if self._speeds is None:
                    self._speeds = await to_thread.run_sync(self._open_speeds)
                chat = self._made.get(_key_of(spec))
                if chat is None:
                    chat = self._made[_key_of(spec)] = self._begin(spec, engine, self._speeds)
                    chat.resident.planned_by(plan)
                self._known[model] = chat
            return self._known[model]

    async def spec_of(self, model: str | None) -> ModelSpec:
        """Return a model's entry, whether or not a catalog's file is here; raises as ``of`` otherwise.

        A file that was named by its path is also found by its name, once it is used.
        """
        if model in self._known:
            return self._known[model].spec
        try:
            return (await to_thread.run_sync(self._entry, model))[1]
        except ModelUnknown:
            named = next((chat.spec for chat in self._made.values() if chat.spec.name == model), None)
            if named is None:
                raise
            return named

    def made_with(self, spec: ModelSpec) -> Chat | None:
        """Return the chat with a model, None if nobody has asked for one."""
        return self._made.get(_key_of(spec))

    def made(self) -> list[Chat]:
        """Return the chats that were made."""
        return list(self._made.values())

    async def unload(self, chat: Chat) -> None:
        """Give a model's memory back, what it has read saved; ``EngineBusy`` while it answers."""
        await self._residents.unload(chat.resident)

    async def keep_unloading_unused(self) -> None:
        """Give back the memory of models that nobody uses; returns at once where the settings say never."""
        if self._settings.idle_unload_minutes:
            seconds = self._settings.idle_unload_minutes * SECONDS_A_MINUTE
            await self._residents.keep_unloading_unused(seconds)

    async def forget(self, conversation_ids: Collection[str]) -> None:
        """Delete what any model has read of conversations."""
        failure: CodingAssistantError | None = None
        for chat in self.made():
            try:
                await chat.parts.model.caches.forget(conversation_ids)
            except CodingAssistantError as error:  # the other models are to forget it all the same
                failure = failure or error
        # Also what models have read that nobody has asked since the start.
        await to_thread.run_sync(lambda: self._snapshots.delete(*conversation_ids))
        if failure is not None:
            raise failure

    async def forget_strays(self) -> None:
        """Delete what was read of conversations that are no more: a crash may have left it behind them."""
        conversations = await to_thread.run_sync(self._store.conversations)
        projects = await to_thread.run_sync(self._store.projects)
        owners = {each.id for each in conversations} | {each.id for each in projects}
        await to_thread.run_sync(self._snapshots.keep_only, owners)

    async def require_usable(self) -> None:
        """Raise what stands in the way of the model that the settings choose."""
        default = self._known.get(None)
        if default is None or not default.resident.is_loaded:
            await to_thread.run_sync(self._prepare, None)

    async def close(self) -> None:
        """Save what the models have read, then end them."""
        for chat in self.made():
            await chat.parts.close()

    def _begin(self, spec: ModelSpec, engine: Engine, speeds: ReadingSpeeds) -> Chat:
        resident = self._residents.add(engine)
        model = make_chat_model(spec, resident, self._snapshots, speeds, self._settings)
        resident.on_leaving(model.caches.save_all)
        parts = make_chat_parts(
            model,
            self._store,
            self.attention,
            self._asked_about,
            primer_tokens=self._settings.primer_tokens,
        )
        self._tasks.start_soon(parts.idle.run)
        self._tasks.start_soon(parts.ahead.run)
        return Chat(parts, resident)

    def _open_speeds(self) -> ReadingSpeeds:
        return ReadingSpeeds(self._settings.home / SPEEDS_FILE)

    def _prepare(self, model: str | None) -> tuple[ModelSpec, Engine, Plan]:
        catalog, spec = self._entry(model)

        def plan(claimed_bytes: int) -> MemoryPlan | None:
            return memory_plan(spec, catalog, self._settings, claimed_bytes=claimed_bytes)

        return spec, self._make_engine(catalog, spec, self._settings), plan

    def _entry(self, model: str | None) -> tuple[Catalog, ModelSpec]:
        settings = self._settings
        if model is not None:
            settings = settings.model_copy(update={"model_name": model})
        catalog = open_catalog(settings)
        try:
            return catalog, chosen_model(catalog, settings)
        except OSError as error:  # a name that is longer than a file's may be, a folder that is not ours
            raise ModelUnknown(
                f"There is no model {model!r}: {error.strerror}.",
                hint="Name a model of the catalog, or the path of a .gguf file.",
            ) from error


def reference(spec: ModelSpec, asked: str) -> str:
    """Return the name by which a model that was asked for is found again, from whatever folder."""
    return asked if asked == spec.name else str(spec.path or asked)


def _key_of(spec: ModelSpec) -> _Key:
    return spec.name, spec.path
