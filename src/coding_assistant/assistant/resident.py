"""A model that shares the memory with others: who uses it, who waits for its load, and when it may go.

It is the engine through which everybody reaches the model, so that whoever needs it loaded waits in one
place. Whether there is room for it is not known here.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeAlias, runtime_checkable

import anyio
import psutil
from anyio import to_thread
from anyio.abc import TaskGroup

from coding_assistant.chat.idle import Attention
from coding_assistant.domain import (
    EngineEvent,
    EngineInfo,
    GenerationRequest,
    MemoryPlan,
    Message,
    ModelLoading,
    PromptRead,
    Residence,
    Waiting,
)
from coding_assistant.errors import EngineUnavailable
from coding_assistant.protocols import Engine

logger = logging.getLogger(__name__)

Tell: TypeAlias = Callable[[Waiting | ModelLoading], None]
"""Is told what a question waits for."""

Plan: TypeAlias = Callable[[int], MemoryPlan | None]
"""Says what a model takes if it is loaded now, beside others that are to get so many bytes more; blocks."""


class Changes:
    """Wakes who waits until somebody begins or ends to use a model, or until one was loaded or unloaded."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def note(self) -> None:
        """Wake them."""
        event, self._event = self._event, anyio.Event()
        event.set()

    @property
    def upcoming(self) -> anyio.Event:
        """Is set at the next change: to be taken before one looks whether there is anything to wait for."""
        return self._event


@runtime_checkable
class _OwnProcess(Protocol):
    """An engine that runs its model in a process of this machine."""

    @property
    def process_id(self) -> int | None:
        """The process; None while there is none."""
        ...

    def leave_free(self, claimed_bytes: int) -> None:
        """Have later loads leave so much of the available memory to others."""
        ...


class _Loading:
    """A load under way, for all who wait for it."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.error: Exception | None = None


class Resident:
    """``protocols.Engine`` of a model that shares the memory with others. Made by ``Residents.add``.

    Only ``load`` and what begins with it loads the model; what concerns slots alone goes to it as it is.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskGroup,
        *,
        admit: Callable[["Resident"], Awaitable[None]],
        changes: Changes,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._admit = admit
        self._changes = changes
        self._clock = clock
        self._users: list[Tell] = []
        self._waiting_for_load = 0
        self._loading: _Loading | None = None
        self._is_leaving = False
        self._last_words: Callable[[], Awaitable[None]] | None = None
        self._plan: Plan | None = None
        self.last_use: float | None = None
        self._last_used_at: datetime | None = None
        self.last_info: EngineInfo | None = None

    # --- Who uses it --------------------------------------------------------------------------

    @asynccontextmanager
    async def in_use(self, tell: Tell | None = None) -> AsyncGenerator[None, None]:
        """Keep the model from being unloaded inside, also while it is still to be loaded.

        ``tell`` is told when the load has to wait for memory, and when it goes on.
        """
        while self._is_leaving:
            await self._changes.upcoming.wait()
        tell = tell or _tell_nobody
        self._users.append(tell)
        self.note_use()
        try:
            yield
        finally:
            self._users.remove(tell)
            self.note_use()
            self._give_up_unwanted_load()
            self._changes.note()

    @property
    def users(self) -> int:
        """How many use the model now; what goes on for nobody does not count."""
        return len(self._users)

    def note_use(self) -> None:
        """Count as used at this moment."""
        self.last_use = self._clock()
        self._last_used_at = datetime.now(UTC)

    def tell(self, news: Waiting | ModelLoading) -> None:
        """Tell all who use the model."""
        for tell in self._users:
            tell(news)

    # --- Memory -------------------------------------------------------------------------------

    def on_leaving(self, last_words: Callable[[], Awaitable[None]]) -> None:
        """Have something done each time before the model is unloaded on purpose."""
        self._last_words = last_words

    def planned_by(self, plan: Plan) -> None:
        """Have a blocking function say what the model takes if it is loaded now."""
        self._plan = plan

    async def would_be_reduced(self, claimed_bytes: int) -> bool:
        """Whether the model would get less context now than it is to have."""
        plan = await to_thread.run_sync(self._plan, claimed_bytes) if self._plan else None
        return plan is not None and plan.shrinks and bool(plan.reduction)

    @property
    def needed_bytes(self) -> int:
        """What the model was loaded to take in this machine's memory; 0 while it is not there."""
        plan = self.last_info.memory if self.last_info and self.is_loaded else None
        return plan.needed if plan else 0

    async def claimed_bytes(self) -> int:
        """Return what the model still has to get of the memory that counts as available."""
        process_id = self.process_id
        if process_id is None:
            return 0
        return max(0, self.needed_bytes - await to_thread.run_sync(_own_bytes, process_id))

    async def residence(self) -> Residence:
        """Return where the model stands."""
        process_id = self.process_id
        taken = await to_thread.run_sync(_resident_bytes, process_id) if process_id else None
        return Residence(
            is_loaded=self.is_loaded,
            is_loading=self._loading is not None,
            memory_bytes=taken,
            last_used_at=self._last_used_at,
            notice=self.last_info.notice if self.last_info else "",
            plan=self.last_info.memory if self.last_info and self.is_loaded else None,
        )

    @property
    def process_id(self) -> int | None:
        """The process whose end gives memory back; None for a model that runs elsewhere, or is not loaded."""
        return self._engine.process_id if isinstance(self._engine, _OwnProcess) else None

    async def load_engine(self, claimed_bytes: int) -> None:
        """Load the model once others have so many bytes more; may raise ``NotEnoughMemory``."""
        if isinstance(self._engine, _OwnProcess):
            self._engine.leave_free(claimed_bytes)
        self.last_info = await self._engine.load()
        if self.last_info.notice:  # which of a load for nobody's question no answer tells
            logger.warning("%s: %s", self.name, self.last_info.notice)

    async def leave(self, attention: Attention) -> None:
        """Give the memory back, unless somebody uses the model."""
        async with attention.alone():
            if self._users:
                return
            self._is_leaving = True
            try:
                if self._last_words and self.is_loaded:
                    await self._last_words()
                await self._engine.close()
            finally:
                self._is_leaving = False
                self._changes.note()

    def give_up_load(self) -> None:
        """Cancel a load that is under way for nobody but who reads ahead."""
        if self._loading and not self._users:
            self._loading.scope.cancel()

    def _give_up_unwanted_load(self) -> None:
        if not self._waiting_for_load:
            self.give_up_load()

    async def _load_with_others(self) -> None:
        """Wait for the load that is under way, begun here if there is none."""
        loading = self._loading
        if loading is None:
            loading = self._loading = _Loading()
            self._tasks.start_soon(self._run, loading)
        self._waiting_for_load += 1
        try:
            await loading.ended.wait()
        finally:
            self._waiting_for_load -= 1
            self._give_up_unwanted_load()
        if loading.error is not None:
            raise loading.error

    async def _run(self, loading: _Loading) -> None:
        """Load, as a task of its own: whoever leaves does not take the load from the others."""
        loading.error = EngineUnavailable("The program is ending.", hint="Start it again.")
        try:
            with loading.scope:
                await self._admit(self)
            loading.error = None
        except Exception as error:  # noqa: BLE001  -- raised again by all who wait for the load
            loading.error = error
        finally:
            self._loading = None
            loading.ended.set()
            self._changes.note()

    # --- The engine ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model's name."""
        return self._engine.name

    @property
    def is_loaded(self) -> bool:
        """Whether the next question finds the model ready."""
        return self._engine.is_loaded

    async def load(self) -> EngineInfo:
        """Load the model once there is room for it; all who ask for it wait for one load.

        Nobody's memory is taken for one that nobody uses. Raises ``NotEnoughMemory``, or ``EngineBusy`` when
        the models that have the memory were answering for longer than the patience.
        """
        while not self._engine.is_loaded:
            await self._load_with_others()
        self.last_info = await self._engine.load()
        return self.last_info

    async def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the tokens of plain text."""
        await self.load()
        return await self._engine.tokenize(text)

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the prompt's tokens in the model's own format."""
        await self.load()
        return await self._engine.encode(messages)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Continue the prompt."""
        await self.load()
        async with aclosing(self._engine.generate(request)) as events:
            async for event in events:
                yield event

    async def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
        """Read tokens into a slot."""
        await self.load()
        async with aclosing(self._engine.read(tokens, slot=slot)) as events:
            async for event in events:
                yield event

    async def save_slot(self, slot: int, name: str) -> int:
        """Write what a slot has read to a file."""
        return await self._engine.save_slot(slot, name)

    async def restore_slot(self, slot: int, name: str) -> int:
        """Have a slot hold what the file says."""
        return await self._engine.restore_slot(slot, name)

    async def erase_slot(self, slot: int) -> None:
        """Forget what a slot has read."""
        await self._engine.erase_slot(slot)

    async def close(self) -> None:
        """Unload the model at once, whoever uses it."""
        await self._engine.close()


def _tell_nobody(_news: Waiting | ModelLoading) -> None:
    """Nobody watches."""


def _resident_bytes(process_id: int) -> int | None:
    """Return the memory that a process holds; None for one that has just ended."""
    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except psutil.Error:
        return None


def _own_bytes(process_id: int) -> int:
    """Return what a process holds that no longer counts as available memory.

    Of a file's pages that are mapped, such as a model's weights, the kernel says that they are available.
    """
    try:
        held = psutil.Process(process_id).memory_info()
    except psutil.Error:
        return 0
    return int(held.rss - getattr(held, "shared", 0))  # which is told by Linux alone
