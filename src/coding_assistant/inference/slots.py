"""Who has which of the engine's slots, and who waits for one.

Knows nothing of the engine. A slot is a number; what it has read belongs to one conversation, its owner.
"""

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import fmean
from typing import Final

import anyio

from coding_assistant.errors import EngineBusy

# An answer of ordinary length on a CPU: what a lease counts for until some have been seen.
_FIRST_GUESS_SECONDS: Final = 10.0
_RECENT_LEASES: Final = 16
_LONGEST_RETRY_SECONDS: Final = 300


class _Waiter:
    """Somebody in the queue. ``slot`` is set when it is their turn, ``ahead`` is their place until then."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.slot: int | None = None
        self.ahead = 0
        self.news = anyio.Event()


class SlotTable:
    """Lends ``count`` slots, first come, first served, each to one holder at a time and one to an owner.

    None waits longer than ``patience_seconds``; ``longest_queue`` is how many questions may wait. Somebody
    whose owner has a slot already keeps his place in the queue while others pass.
    """

    def __init__(
        self,
        count: int,
        *,
        patience_seconds: float,
        longest_queue: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._patience_seconds = patience_seconds
        self._longest_queue = longest_queue
        self._clock = clock
        self._free = deque(range(count))  # the one that is free the longest comes first
        self._owners: dict[int, str] = {}
        self._holders: set[str] = set()
        self._queue: deque[_Waiter] = deque()
        self._lease_seconds: deque[float] = deque(maxlen=_RECENT_LEASES)

    @property
    def waiting(self) -> int:
        """How many wait for a slot now."""
        return len(self._queue)

    @asynccontextmanager
    async def lease(self, owner: str, *, on_wait: Callable[[int], None] | None = None) -> AsyncIterator[int]:
        """Hold a slot inside: the owner's own if it is free, else an empty one, else the longest unused.

        ``on_wait`` is told how many come first, at once when one has to wait and whenever that changes.
        Raises ``EngineBusy``, with a guess at when it would have been one's turn: at once when the queue is
        full, and when no slot came within the patience.
        """
        slot = await self._acquire(owner, on_wait)
        began = self._clock()
        try:
            yield slot
        finally:
            self._lease_seconds.append(self._clock() - began)
            self._release(slot, owner)

    def require_room(self, begun: int) -> None:
        """Raise ``EngineBusy`` when so many unanswered questions leave no place in the queue for another.

        For whoever is about to begin one: what goes on for nobody has a slot, too, and does not count.
        """
        ahead = max(0, begun - self._count)
        if begun - self._count >= self._longest_queue:
            raise self._busy(ahead)

    def assign(self, slot: int, owner: str | None) -> None:
        """Note whose text the slot holds, None when it is empty; without a word it is its last holder's."""
        if owner is None:
            self._owners.pop(slot, None)
        else:
            self._owners[slot] = owner

    async def _acquire(self, owner: str, on_wait: Callable[[int], None] | None) -> int:
        waiter = _Waiter(owner)
        self._queue.append(waiter)
        self._serve()
        try:
            with anyio.move_on_after(self._patience_seconds):
                await _served(waiter, on_wait)
        except BaseException:  # cancelled, perhaps in the very moment that it was served
            self._leave(waiter)
            raise
        if waiter.slot is None:
            self._leave(waiter)
            raise self._busy(waiter.ahead)
        return waiter.slot

    def _serve(self) -> None:
        """Give the free slots to those who wait, in their order, and have the others look at their places."""
        passed_over: deque[_Waiter] = deque()
        while self._queue and self._free:
            waiter = self._queue.popleft()
            if waiter.owner in self._holders:
                passed_over.append(waiter)
            else:
                self._give(waiter)
        self._queue.extendleft(reversed(passed_over))
        for place, waiter in enumerate(self._queue):
            if waiter.ahead != place:
                waiter.ahead = place
                waiter.news.set()

    def _give(self, waiter: _Waiter) -> None:
        slot = self._choose(waiter.owner)
        self._free.remove(slot)
        self._holders.add(waiter.owner)
        self._owners[slot] = waiter.owner
        waiter.slot = slot
        waiter.news.set()

    def _choose(self, owner: str) -> int:
        own = (slot for slot in self._free if self._owners.get(slot) == owner)
        empty = (slot for slot in self._free if slot not in self._owners)
        return next(own, next(empty, self._free[0]))

    def _release(self, slot: int, owner: str) -> None:
        self._free.append(slot)
        self._holders.discard(owner)
        self._serve()

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.slot is None:
            self._queue.remove(waiter)
            self._serve()
        else:
            self._release(waiter.slot, waiter.owner)

    def _busy(self, ahead: int) -> EngineBusy:
        return EngineBusy(
            f"The model is busy with other questions, and {ahead} more wait before this one.",
            hint="Ask again in a moment.",
            retry_after_seconds=self._expected_seconds(ahead),
        )

    def _expected_seconds(self, ahead: int) -> int:
        """Return when somebody with so many before him may expect a slot, as leases have lasted lately."""
        lease_seconds = fmean(self._lease_seconds) if self._lease_seconds else _FIRST_GUESS_SECONDS
        expected = math.ceil(lease_seconds * (ahead + 1) / self._count)
        return min(max(expected, 1), _LONGEST_RETRY_SECONDS)


async def _served(waiter: _Waiter, on_wait: Callable[[int], None] | None) -> None:
    """Return when the waiter has a slot; the calls are made here, so that their errors hit nobody else."""
    while waiter.slot is None:
        if on_wait is not None:
            on_wait(waiter.ahead)
        waiter.news = anyio.Event()
        await waiter.news.wait()
