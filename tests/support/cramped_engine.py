"""Scripted engines that share a memory too small for all of them."""

import os
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel

from coding_assistant.domain import EngineInfo, MemoryPlan
from coding_assistant.errors import EngineDied, NotEnoughMemory
from support.scripted_engine import Script, ScriptedEngine


class Memory:
    """Room for so many models at once; ``loading_at_once`` is the most that were ever loaded together."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.loaded: list[str] = []
        self.loading = 0
        self.loading_at_once = 0


class CrampedEngine(ScriptedEngine):
    """Loads only where its memory has room. ``loads`` and ``given_up`` count what became of its loads.

    With ``hold_loads``, a load that has begun waits for ``let_load``, and sets ``is_loading`` first.
    ``missing_bytes`` is what it says when there is no room, ``needed_bytes`` what it is loaded to take, and
    ``left_free`` what it was told to leave to others.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        *scripts: Script | str,
        snapshot_folder: Path | None = None,
        hold_loads: bool = False,
        missing_bytes: int = 1,
        needed_bytes: int = 1,
    ) -> None:
        super().__init__(*scripts, name=name, slots=1, snapshot_folder=snapshot_folder)
        plan = MemoryPlan(1_024, 1, weights=needed_bytes, kv_cache=0, compute=0, available=needed_bytes)
        self._info = replace(self._info, memory=plan)
        self._memory = memory
        self._missing_bytes = missing_bytes
        self._may_load = anyio.Event()
        if not hold_loads:
            self._may_load.set()
        self.is_loading = anyio.Event()
        self.loads = 0
        self.given_up = 0
        self.left_free = 0

    @property
    def process_id(self) -> int | None:
        return os.getpid() if self.is_loaded else None

    async def load(self) -> EngineInfo:
        if self.is_loaded:
            return await super().load()
        if len(self._memory.loaded) >= self._memory.room:
            raise NotEnoughMemory("It does not fit.", missing_bytes=self._missing_bytes)
        self._memory.loading += 1
        self._memory.loading_at_once = max(self._memory.loading, self._memory.loading_at_once)
        self.is_loading.set()
        try:
            await self._may_load.wait()
            await anyio.lowlevel.checkpoint()
        except BaseException:
            self.given_up += 1
            raise
        finally:
            self._memory.loading -= 1
        self._memory.loaded.append(self.name)
        self.loads += 1
        return await super().load()

    async def close(self) -> None:
        if self.is_loaded:
            self._memory.loaded.remove(self.name)
        await super().close()

    def leave_free(self, claimed_bytes: int) -> None:
        self.left_free = claimed_bytes

    def let_load(self) -> None:
        """Let every load that waits, and every later one, go on."""
        self._may_load.set()

    async def die(self) -> EngineDied:
        """End as a process that is killed does, and return what it says in the middle of an answer."""
        await self.close()
        return EngineDied(f"{self.name} was killed.")
