"""Whose memory goes when, told by a clock that the test sets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from coding_assistant.assistant import residents
from coding_assistant.assistant.resident import Plan, Resident
from coding_assistant.assistant.residents import Residents
from coding_assistant.chat.generation import open_tasks
from coding_assistant.chat.idle import Attention
from coding_assistant.domain import MemoryPlan, ModelLoading, Waiting
from coding_assistant.errors import EngineBusy, NotEnoughMemory
from support.cramped_engine import CrampedEngine, Memory

pytestmark = pytest.mark.anyio

UNUSED_SECONDS = 1_800.0


@dataclass
class House:
    """Residents, and the clock that they go by."""

    residents: Residents
    attention: Attention
    clock: list[float]
    left: list[str] = field(default_factory=list)

    def add(self, engine: CrampedEngine) -> Resident:
        resident = self.residents.add(engine)

        async def last_words() -> None:
            assert engine.is_loaded
            self.left.append(engine.name)

        resident.on_leaving(last_words)
        return resident

    async def pass_(self, seconds: float) -> None:
        self.clock[0] += seconds
        await self.residents.unload_unused(UNUSED_SECONDS)


@asynccontextmanager
async def opened(*, patience_seconds: float = 60.0) -> AsyncIterator[House]:
    clock, attention = [1_000.0], Attention()
    async with open_tasks() as tasks:
        residents = Residents(attention, tasks, patience_seconds=patience_seconds, clock=lambda: clock[0])
        yield House(residents, attention, clock)


def shorter_beside_others(memory: Memory) -> Plan:
    """Plan an automatic context that is shorter while any model is loaded."""

    def plan(_claimed_bytes: int) -> MemoryPlan:
        reduction = "there is no room for more" if memory.loaded else ""
        return MemoryPlan(1_024, 1, 1, 1, 1, 10, shrinks=True, reduction=reduction)

    return plan


async def use(resident: Resident) -> None:
    async with resident.in_use():
        await resident.load()


async def test_what_nobody_has_used_for_long_enough_goes_after_its_last_words() -> None:
    memory = Memory(1)
    async with opened() as house:
        resident = house.add(CrampedEngine("a", memory))
        await use(resident)
        await house.pass_(UNUSED_SECONDS - 1)
        assert memory.loaded == ["a"]
        await use(resident)
        await house.pass_(UNUSED_SECONDS - 1)
        assert memory.loaded == ["a"]
        await house.pass_(1)
        assert memory.loaded == []
        assert house.left == ["a"]
        await house.pass_(10 * UNUSED_SECONDS)
        assert house.left == ["a"]


async def test_what_answers_stays_however_long_it_takes() -> None:
    async with opened() as house:
        engine = CrampedEngine("a", Memory(1))
        resident = house.add(engine)
        async with resident.in_use():
            await resident.load()
            await house.pass_(10 * UNUSED_SECONDS)
            assert engine.is_loaded
        await house.pass_(UNUSED_SECONDS - 1)
        assert engine.is_loaded


async def test_what_goes_on_for_nobody_is_no_use_and_ends_before_the_model_goes() -> None:
    async with opened() as house, anyio.create_task_group() as tasks:
        engine = CrampedEngine("a", Memory(1))
        resident = house.add(engine)
        await use(resident)
        house.clock[0] += UNUSED_SECONDS
        states = []

        async def chore() -> None:
            try:
                await resident.load()
                await anyio.sleep_forever()
            finally:
                states.append(engine.is_loaded)

        tasks.start_soon(house.attention.unless_asked, chore)
        await anyio.wait_all_tasks_blocked()
        await house.residents.unload_unused(UNUSED_SECONDS)
        assert states == [True]
        assert not engine.is_loaded


async def test_a_question_that_comes_while_the_model_goes_finds_it_loaded_anew() -> None:
    async with opened() as house, anyio.create_task_group() as tasks:
        engine = CrampedEngine("a", Memory(1))
        resident = house.residents.add(engine)
        saving, may_end = anyio.Event(), anyio.Event()

        async def last_words() -> None:
            saving.set()
            await may_end.wait()

        resident.on_leaving(last_words)
        await use(resident)
        tasks.start_soon(house.residents.unload, resident)
        await saving.wait()
        tasks.start_soon(use, resident)
        await anyio.wait_all_tasks_blocked()
        assert engine.loads == 1
        may_end.set()
    assert engine.loads == 2


async def test_two_loads_never_run_at_once() -> None:
    memory = Memory(2)
    async with opened() as house, anyio.create_task_group() as tasks:
        slow, other = CrampedEngine("a", memory, hold_loads=True), CrampedEngine("b", memory)
        tasks.start_soon(use, house.add(slow))
        await slow.is_loading.wait()
        for _ in range(3):
            tasks.start_soon(use, house.add(other))
        await anyio.wait_all_tasks_blocked()
        assert other.loads == 0
        slow.let_load()
    assert memory.loading_at_once == 1
    assert (slow.loads, other.loads) == (1, 1)


async def test_a_failed_load_is_told_to_all_who_wait_and_the_next_may_succeed() -> None:
    memory = Memory(0)
    async with opened() as house:
        resident = house.add(CrampedEngine("a", memory))
        refused = []

        async def try_it() -> None:
            try:
                await use(resident)
            except NotEnoughMemory as refusal:
                refused.append(refusal)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(try_it)
            tasks.start_soon(try_it)
        assert len(refused) == 2
        memory.room = 1
        await use(resident)


async def test_who_waits_for_memory_is_told_of_it_and_of_the_load() -> None:
    memory = Memory(1)
    told: list[Waiting | ModelLoading] = []
    async with opened() as house, anyio.create_task_group() as tasks:
        first, second = house.add(CrampedEngine("a", memory)), house.add(CrampedEngine("b", memory))

        async def ask() -> None:
            async with second.in_use(told.append):
                await second.load()

        async with first.in_use():
            await first.load()
            tasks.start_soon(ask)
            while not told:
                await anyio.wait_all_tasks_blocked()
            assert not second.is_loaded
    assert told == [Waiting(1), ModelLoading("b")]


async def test_the_patience_for_memory_has_an_end() -> None:
    memory = Memory(1)
    async with opened(patience_seconds=0.01) as house:
        first, second = house.add(CrampedEngine("a", memory)), house.add(CrampedEngine("b", memory))
        async with first.in_use():
            await first.load()
            with pytest.raises(EngineBusy, match="b beside a"):
                await use(second)


async def test_an_automatic_context_is_made_shorter_only_after_what_nobody_uses_has_gone() -> None:
    memory = Memory(2)
    async with opened() as house:
        first, second = house.add(CrampedEngine("a", memory)), house.add(CrampedEngine("b", memory))

        second.planned_by(shorter_beside_others(memory))
        async with first.in_use():
            await first.load()
            await use(second)
            assert memory.loaded == ["a", "b"]
        await house.residents.unload(second)
        await use(second)
        assert memory.loaded == ["b"]


async def test_what_others_have_not_taken_of_their_memory_yet_is_left_to_them() -> None:
    memory, needed = Memory(2), 10**15
    async with opened() as house:
        first, second = CrampedEngine("a", memory, needed_bytes=needed), CrampedEngine("b", memory)
        await use(house.add(first))
        beside = house.add(second)
        plans: list[int] = []

        def plan(claimed_bytes: int) -> MemoryPlan | None:
            plans.append(claimed_bytes)
            return None

        beside.planned_by(plan)
        await use(beside)
    assert first.left_free == 0
    # A process of this size holds something, and nowhere near all.
    assert needed // 2 < second.left_free < needed
    assert needed // 2 < plans[0] < needed


async def test_reading_ahead_loads_no_shorter_context_than_a_question_could_have() -> None:
    memory = Memory(2)
    async with opened() as house:
        first, second = house.add(CrampedEngine("a", memory)), house.add(CrampedEngine("b", memory))
        second.planned_by(shorter_beside_others(memory))
        await use(first)
        with pytest.raises(NotEnoughMemory, match="beside other models"):
            await second.load()
        assert memory.loaded == ["a"]
        await house.residents.unload(first)
        await second.load()
    assert memory.loaded == ["b"]


async def test_unloading_waits_neither_for_an_answer_nor_for_another_models_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residents, "LAST_STEPS_SECONDS", 0.01)
    monkeypatch.setattr(residents, "TURN_SECONDS", 0.01)
    memory = Memory(2)
    async with opened() as house, anyio.create_task_group() as tasks:
        slow = CrampedEngine("a", memory, hold_loads=True)
        loading, other = house.add(slow), house.add(CrampedEngine("b", memory))
        await use(other)
        tasks.start_soon(use, loading)
        await slow.is_loading.wait()
        with anyio.fail_after(30):
            with pytest.raises(EngineBusy, match="a is in use"):
                await house.residents.unload(loading)
            with pytest.raises(EngineBusy, match="another model is being loaded"):
                await house.residents.unload(other)
        slow.let_load()


async def test_a_model_that_cannot_be_ended_keeps_no_other_one_in_memory() -> None:
    class Stubborn(CrampedEngine):
        """Does not end."""

        async def close(self) -> None:
            raise OSError("its process does not end")

    memory = Memory(2)
    async with opened() as house:
        for engine in (Stubborn("a", memory), CrampedEngine("b", memory)):
            await use(house.add(engine))
        await house.pass_(UNUSED_SECONDS)
    assert memory.loaded == ["a"]


async def test_what_runs_elsewhere_has_no_memory_to_give(tmp_path: Path) -> None:
    class Remote(CrampedEngine):
        """Runs on another machine."""

        @property
        def process_id(self) -> int | None:
            return None

    memory = Memory(1)
    async with opened() as house:
        remote = house.add(Remote("far", Memory(1), snapshot_folder=tmp_path))
        near, other = house.add(CrampedEngine("near", memory)), house.add(CrampedEngine("other", memory))
        await use(remote)
        await use(near)
        await use(other)
        assert remote.is_loaded
        assert memory.loaded == ["other"]
