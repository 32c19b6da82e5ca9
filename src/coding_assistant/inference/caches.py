"""What the engine has read of each conversation, kept for its next question.

Whoever gets a slot finds in it what he left: still there, or restored from his snapshot; whoever had the slot
before was saved first. It knows nothing of prompts. How much of what a slot holds is the beginning of the
next prompt, the engine finds out by itself, so that a mistake here could make an answer late, but not wrong.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import anyio
from anyio import to_thread

from coding_assistant.domain import EngineInfo
from coding_assistant.errors import CodingAssistantError, places
from coding_assistant.inference.slots import SlotTable
from coding_assistant.inference.snapshots import SnapshotFolder
from coding_assistant.protocols import Engine

logger = logging.getLogger(__name__)

_FAILURES: Final = (CodingAssistantError, OSError)


@dataclass(slots=True)
class _Content:
    """Whose text a slot holds, in which run of the engine, and whether it may have grown since a save."""

    owner: str
    info: EngineInfo
    is_unsaved: bool = True


class Lease:
    """A slot that somebody holds; see ``SlotCaches.lease``."""

    def __init__(self, caches: "SlotCaches", owner: str) -> None:
        self._caches = caches
        self.owner = owner
        self.slot = -1  # until the table lends one
        self.is_prepared = False
        self.is_forgotten = False

    async def prepare(self, info: EngineInfo, *, front: str = "") -> None:
        """Have the slot hold what its owner left, else the common front, else nothing.

        To be called once, after the engine was loaded. From then on the slot counts as the owner's, and no
        text of anybody else is in it. What cannot be saved or restored is no failure: it is read again.
        """
        await self._caches.prepare(self, info, front=front)


class SlotCaches:
    """Lends the slots of one engine, each with what its new holder had read before.

    An owner, or the digest of a common front, is named in hexadecimal digits and hyphens. The text of an
    owner is in one slot at most.
    """

    def __init__(self, engine: Engine, slots: SlotTable, snapshots: SnapshotFolder) -> None:
        self._engine = engine
        self._slots = slots
        self._snapshots = snapshots
        self._contents: dict[int, _Content] = {}
        self._leases: set[Lease] = set()
        # The engine saves and restores one slot at a time whatever is asked of it, so one at a time costs
        # nothing. What is begun is also finished, so that it is certain what a slot and the folder hold: a
        # cancelled answer waits for it, 60 ms for saving and restoring 22 MB on two cores that were busy.
        self._at_work = anyio.Lock()
        self._has_complained = False

    @asynccontextmanager
    async def lease(
        self, owner: str, *, on_wait: Callable[[int], None] | None = None
    ) -> AsyncIterator[Lease]:
        """Hold a slot inside; see ``SlotTable.lease`` for the order, the waiting and the refusals."""
        lease = Lease(self, owner)
        self._leases.add(lease)
        try:
            async with self._slots.lease(owner, on_wait=on_wait) as lease.slot:
                try:
                    yield lease
                finally:
                    await self._give_back(lease)
        finally:
            self._leases.discard(lease)

    def require_room(self, begun: int) -> None:
        """See ``SlotTable.require_room``."""
        self._slots.require_room(begun)

    async def prepare(self, lease: Lease, info: EngineInfo, *, front: str) -> None:
        """Do as ``Lease.prepare`` says."""
        async with self._at_work:
            with anyio.CancelScope(shield=True):
                await self._move_out(lease.owner, staying_in=lease.slot)
                held = self._contents.get(lease.slot)
                if held is None or (held.owner, held.info.run) != (lease.owner, info.run):
                    await self._save(lease.slot)
                    await self._fill(lease.slot, info, (lease.owner, front))
                self._contents[lease.slot] = _Content(lease.owner, info)
                lease.is_prepared = True

    async def save_idle(self) -> bool:
        """Save what was read into slots that nobody holds; return whether anything had to be.

        Stops between two slots when somebody waits for one.
        """
        found = False
        for slot in sorted(self._contents):
            if self._slots.waiting:
                break
            found |= await self._save_if_free(slot)
        return found

    async def save_all(self) -> None:
        """Save what was read into slots that nobody holds: to be called before the engine is closed."""
        for slot in sorted(self._contents):
            await self._save_if_free(slot)

    async def forget(self, owners: Collection[str]) -> None:
        """Erase what was read of these owners from slots and disk, whether or not the engine is loaded.

        A slot that one of them holds is erased when it is given back, and not saved until then. Raises
        ``DataDirectoryUnusable`` when a snapshot cannot be deleted.
        """
        for lease in self._leases:
            lease.is_forgotten |= lease.owner in owners
        with anyio.CancelScope(shield=True):
            async with self._at_work:  # so that a save under way has ended, and its file is there to delete
                for slot, content in list(self._contents.items()):
                    if content.owner in owners and not self._is_in_use(slot):
                        await self._erase(slot)
                await to_thread.run_sync(lambda: self._snapshots.delete(*owners))

    def is_warm(self, owner: str, info: EngineInfo) -> bool:
        """Whether what was read of an owner is in a slot, or on disk to be restored.

        ``info`` may be of a load before, when the model has been unloaded since.
        """
        held = self._engine.is_loaded and any(
            each.owner == owner and each.info.run == info.run for each in self._contents.values()
        )
        return held or (bool(info.snapshots) and self._snapshots.has(info.snapshots, owner))

    async def hand_over(self, owner: str, heir: str) -> None:
        """Have what was read of an owner count as an heir's, who has read nothing yet.

        Nothing stays behind under the owner's name, except in a slot that he holds.
        """
        async with self._at_work:
            for slot, content in self._contents.items():
                if content.owner == owner and not self._is_in_use(slot):
                    content.owner = heir
                    self._slots.assign(slot, heir)
            with anyio.CancelScope(shield=True):
                try:
                    await to_thread.run_sync(self._snapshots.hand_over, owner, heir)
                except OSError as error:
                    self._complain(error)

    async def keep_front(self, lease: Lease, digest: str) -> None:
        """Save what the lease's slot holds now as the common front of that digest.

        Every conversation that is prepared with this front begins with it: nothing but the front may have
        been read into the slot.
        """
        async with self._at_work:
            content = self._contents.get(lease.slot)
            if content is not None and lease.is_prepared and not lease.is_forgotten:
                with anyio.CancelScope(shield=True):
                    await self._write_snapshot(lease.slot, content.info, digest)
                content.is_unsaved &= content.owner != digest

    def has_front(self, digest: str, info: EngineInfo) -> bool:
        """Whether a new conversation can begin with this front at no cost."""
        return bool(info.snapshots) and self._snapshots.has(info.snapshots, digest)

    async def _give_back(self, lease: Lease) -> None:
        if lease.is_prepared and lease.is_forgotten:
            with anyio.CancelScope(shield=True):
                async with self._at_work:
                    await self._erase(lease.slot)
        lease.is_prepared = False
        # One that was never prepared leaves the slot to whoever had it before.
        content = self._contents.get(lease.slot)
        self._slots.assign(lease.slot, content.owner if content else None)

    def _is_in_use(self, slot: int) -> bool:
        return any(lease.is_prepared and lease.slot == slot for lease in self._leases)

    async def _move_out(self, owner: str, *, staying_in: int) -> None:
        """Save and clear another slot that holds the owner's text.

        Somebody else got it a moment ago and has not prepared it yet.
        """
        for slot, content in list(self._contents.items()):
            if content.owner == owner and slot != staying_in:
                await self._save(slot)
                await self._erase(slot)

    async def _save_if_free(self, slot: int) -> bool:
        had_to_be = False
        async with self._at_work:
            if not self._is_in_use(slot):
                with anyio.CancelScope(shield=True):
                    had_to_be = await self._save(slot)
        return had_to_be

    async def _save(self, slot: int) -> bool:
        """Save what a slot holds, if need be; return whether there was need.

        Tried once: if it fails, the conversation is merely cold when it comes back to another slot.
        """
        content = self._contents.get(slot)
        if content is None or not content.is_unsaved:
            return False
        content.is_unsaved = False
        await self._write_snapshot(slot, content.info, content.owner)
        return True

    async def _write_snapshot(self, slot: int, info: EngineInfo, owner: str) -> None:
        if not info.snapshots:
            return
        name = self._snapshots.name(info.snapshots, owner)
        try:
            may_be_kept = await to_thread.run_sync(self._snapshots.make_room, info.snapshots)
            # A model that was loaded anew has forgotten what its slots held.
            is_there = self._engine.is_loaded and (await self._engine.load()).run == info.run
            if may_be_kept and is_there and await self._engine.save_slot(slot, name):
                await to_thread.run_sync(self._snapshots.keep, info.snapshots, owner)
        except _FAILURES as error:
            self._complain(error)
        else:
            self._has_complained = False

    async def _fill(self, slot: int, info: EngineInfo, owners: Collection[str]) -> None:
        """Restore the first of the owners' snapshots that there is; without one, empty the slot."""
        for owner in owners:
            if await self._restore(slot, info, owner):
                return
        await self._erase(slot)

    async def _restore(self, slot: int, info: EngineInfo, owner: str) -> bool:
        is_there = bool(owner and info.snapshots) and self._snapshots.has(info.snapshots, owner)
        if not (is_there and self._engine.is_loaded):
            return False
        restored_tokens = 0
        try:
            restored_tokens = await self._engine.restore_slot(
                slot, self._snapshots.name(info.snapshots, owner)
            )
        except CodingAssistantError as error:
            logger.warning("a snapshot could not be restored: %s", places(error))
        with suppress(OSError):
            # An unusable one goes also when it was perhaps not to blame: it may have ended the engine.
            after = self._snapshots.mark_as_used if restored_tokens else self._snapshots.discard
            await to_thread.run_sync(after, info.snapshots, owner)
        return restored_tokens > 0

    async def _erase(self, slot: int) -> None:
        self._contents.pop(slot, None)
        self._slots.assign(slot, None)
        if not self._engine.is_loaded:
            return
        try:
            await self._engine.erase_slot(slot)
        except CodingAssistantError as error:
            logger.warning("slot %d could not be erased: %s", slot, places(error))

    def _complain(self, error: BaseException) -> None:
        """Log the first of a row of failures: a full disk is full for every answer."""
        if not self._has_complained:
            self._has_complained = True
            logger.warning("conversations are not kept warm, snapshots fail: %s", places(error))
