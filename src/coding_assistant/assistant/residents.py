"""Which models are in memory: loaded one at a time, as many as fit, and given back when nobody uses them.

Where memory is short, the model that was unused for the longest goes first; one that answers stays, and who
needs its memory waits. Knows nothing of conversations: what is to be saved before a model goes, its owner
says.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from coding_assistant.assistant.resident import Changes, Resident
from coding_assistant.chat.idle import Attention, attempted
from coding_assistant.domain import ModelLoading, Waiting
from coding_assistant.errors import EngineBusy, NotEnoughMemory
from coding_assistant.protocols import Engine

RETRY_SECONDS: Final = 15
"""An answer of ordinary length on a processor: after it, the memory that was missing may be free."""

LOOK_SECONDS: Final = 60.0
"""How much later than it is due an unused model may go."""

LAST_STEPS_SECONDS: Final = 1.0
"""An answer that is told whole is still being put away for a moment: for so long it is waited for."""

TURN_SECONDS: Final = 3.0
"""A load that is given up has ended by then, and a model that goes has mostly saved what it has read."""


class Residents:
    """The models that share this machine's memory.

    ``patience_seconds`` is how long a question waits for the memory of models that answer others. ``tasks``
    run the loads, and end with the owner.
    """

    def __init__(
        self,
        attention: Attention,
        tasks: TaskGroup,
        *,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attention = attention
        self._tasks = tasks
        self._patience_seconds = patience_seconds
        self._all: list[Resident] = []
        self._turn = anyio.Lock()  # held while anything is loaded or unloaded
        self._changes = Changes()
        self._clock = clock

    def add(self, engine: Engine) -> Resident:
        """Return the resident through which the engine is to be used from now on."""
        resident = Resident(engine, self._tasks, admit=self._admit, changes=self._changes, clock=self._clock)
        self._all.append(resident)
        return resident

    async def unload(self, resident: Resident) -> None:
        """Give a model's memory back; ``EngineBusy`` while somebody uses it, or another model is loaded."""
        resident.give_up_load()
        with anyio.move_on_after(LAST_STEPS_SECONDS):
            while resident.users:
                await self._changes.upcoming.wait()
        _require_unused(resident)
        async with self._turn_soon(resident):
            _require_unused(resident)
            await resident.leave(self._attention)

    @asynccontextmanager
    async def _turn_soon(self, resident: Resident) -> AsyncGenerator[None, None]:
        """Have the turn inside; ``EngineBusy`` if a load has it for long."""
        try:
            with anyio.fail_after(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError as error:
            raise EngineBusy(
                f"{resident.name} cannot be unloaded while another model is being loaded.",
                hint="Try again in a moment.",
                retry_after_seconds=RETRY_SECONDS,
            ) from error
        try:
            yield
        finally:
            self._turn.release()

    async def unload_unused(self, seconds: float) -> None:
        """Give back the memory of the models that nobody has used for so long."""
        for resident in list(self._all):
            await attempted(partial(self._unload_if_unused, resident, seconds))

    async def keep_unloading_unused(self, seconds: float) -> None:
        """Do so for ever; returns only by cancellation."""
        while True:
            await anyio.sleep(min(seconds, LOOK_SECONDS))
            await self.unload_unused(seconds)

    async def _unload_if_unused(self, resident: Resident, seconds: float) -> bool:
        async with self._turn:
            unused = self._clock() - (resident.last_use or 0.0)
            is_due = resident.is_loaded and not resident.users and unused >= seconds
            if is_due:
                await resident.leave(self._attention)
            return is_due

    async def _admit(self, resident: Resident) -> None:
        """Load a model, alone and when there is room for it: what nobody uses makes way.

        Raises as ``Resident.load`` does.
        """
        give_up_at = anyio.current_time() + self._patience_seconds
        while True:
            change = self._changes.upcoming
            async with self._turn:
                try:
                    await self._load_in_place_of_unused(resident)
                except NotEnoughMemory as refusal:
                    answering = sum(each.users for each in self._others(resident))
                    if not (resident.users and answering and self._would_help(resident, refusal)):
                        raise
                else:
                    return
            resident.tell(Waiting(answering))
            await self._wait_for(change, resident, until=give_up_at)
            resident.tell(ModelLoading(resident.name))

    async def _load_in_place_of_unused(self, resident: Resident) -> None:
        while not resident.is_loaded:
            others = self._others(resident)
            claimed_bytes = sum([await each.claimed_bytes() for each in others])
            if await resident.would_be_reduced(claimed_bytes):
                if await self._make_way(resident):
                    continue
                if others and not resident.users:
                    # A question may have all of it in their place, and could not any more after this load.
                    raise NotEnoughMemory(
                        f"There is no memory for the whole context of {resident.name} beside other models.",
                        hint="It is loaded for a question, in place of what nobody uses.",
                    )
            try:
                await resident.load_engine(claimed_bytes)
            except NotEnoughMemory as refusal:
                if not (self._would_help(resident, refusal) and await self._make_way(resident)):
                    raise

    async def _make_way(self, resident: Resident) -> bool:
        """Unload what was unused for the longest, for somebody who asks; False: nothing was unloaded."""
        unused = [each for each in self._others(resident) if not each.users]
        if not (unused and resident.users):
            return False
        await min(unused, key=lambda each: each.last_use or 0.0).leave(self._attention)
        return True

    def _would_help(self, resident: Resident, refusal: NotEnoughMemory) -> bool:
        """Whether the model would fit with no other one loaded: if not, the others stay."""
        return refusal.missing_bytes <= sum(each.needed_bytes for each in self._others(resident))

    async def _wait_for(self, change: anyio.Event, resident: Resident, *, until: float) -> None:
        with anyio.CancelScope(deadline=until) as patience:
            await change.wait()
        if patience.cancelled_caught:
            others = ", ".join(each.name for each in self._others(resident))
            raise EngineBusy(
                f"There is no memory for {resident.name} beside {others}, which is answering.",
                hint="Ask again in a moment.",
                retry_after_seconds=RETRY_SECONDS,
            )

    def _others(self, resident: Resident) -> list[Resident]:
        """Return whose memory the model could have."""
        return [each for each in self._all if each is not resident and each.process_id is not None]


def _require_unused(resident: Resident) -> None:
    if resident.users:
        raise EngineBusy(
            f"{resident.name} is in use.",
            hint="Unload it when its answers are there, or cancel them.",
            retry_after_seconds=RETRY_SECONDS,
        )
