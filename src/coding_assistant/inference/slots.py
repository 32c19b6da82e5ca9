"""Which conversation has which of the engine's slots: the caches that make a follow-up cheap.

Knows nothing of the engine. A slot is a number; its cache is as good as the conversation that had it last.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from coding_assistant.errors import EngineBusy

# What a client is told to wait before it asks again: an answer of ordinary length on a CPU.
_RETRY_SECONDS: Final = 10


class _Waiter:
    """Somebody in the queue. ``slot`` is set, before ``served``, when it is their turn."""

    def __init__(self, conversation_id: str) -> None:
        self.conversation_id = conversation_id
        self.served = anyio.Event()
        self.slot: int | None = None


class SlotTable:
    """Lends ``count`` slots, first come, first served, each to one holder at a time."""

    def __init__(self, count: int, *, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._free = deque(range(count))  # the one that is free the longest comes first
        self._last_conversation: dict[int, str] = {}
        self._queue: deque[_Waiter] = deque()

    @asynccontextmanager
    async def lease(self, conversation_id: str) -> AsyncIterator[int]:
        """Hold a slot inside: the conversation's own if it is free, else the one unused for the longest.

        Raises ``EngineBusy`` when none comes free within the patience.
        """
        slot = await self._acquire(conversation_id)
        self._last_conversation[slot] = conversation_id
        try:
            yield slot
        finally:
            self._release(slot)

    async def _acquire(self, conversation_id: str) -> int:
        waiter = _Waiter(conversation_id)
        self._queue.append(waiter)
        self._serve()
        try:
            with anyio.move_on_after(self._patience_seconds):
                await waiter.served.wait()
        except BaseException:  # cancelled, perhaps in the very moment that it was served
            self._leave(waiter)
            raise
        if waiter.slot is None:
            ahead = self._queue.index(waiter)
            self._leave(waiter)
            raise EngineBusy(
                f"The model is busy with other questions, and {ahead} more wait before this one.",
                hint="Ask again in a moment.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        return waiter.slot

    def _serve(self) -> None:
        """Give the free slots to those who wait, in their order."""
        while self._queue and self._free:
            waiter = self._queue.popleft()
            waiter.slot = self._choose(waiter.conversation_id)
            waiter.served.set()

    def _choose(self, conversation_id: str) -> int:
        own = (slot for slot in self._free if self._last_conversation.get(slot) == conversation_id)
        slot = next(own, self._free[0])
        self._free.remove(slot)
        return slot

    def _release(self, slot: int) -> None:
        self._free.append(slot)
        self._serve()

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.slot is None:
            self._queue.remove(waiter)
        else:
            self._release(waiter.slot)
