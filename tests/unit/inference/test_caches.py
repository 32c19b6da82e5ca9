import json
import logging
from pathlib import Path

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import EngineInfo, GenerationRequest
from coding_assistant.errors import CodingAssistantError, EngineDied, EngineFailed
from coding_assistant.inference.caches import SlotCaches
from coding_assistant.inference.slots import SlotTable
from coding_assistant.inference.snapshots import SnapshotFolder
from support.held_conversation import HeldConversation
from support.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.anyio

FOR_EVER = 1_000.0
FRONT = "f407"
MARKERS = {"a": "apricot", "b": "blueberr", "c": "cherry", "d": "damson", "e": "elder"}
"""A word of one token that only this conversation says."""


class MoodyEngine(ScriptedEngine):
    """Saves when it may, and fails when it is told to."""

    def __init__(self, *, slots: int, snapshot_folder: Path | None) -> None:
        super().__init__("an answer", slots=slots, snapshot_folder=snapshot_folder)
        self.may_save = anyio.Event()
        self.may_save.set()
        self.is_saving = anyio.Event()
        self.saves_tried = 0
        self.save_fails: CodingAssistantError | OSError | None = None
        self.restore_fails: CodingAssistantError | None = None

    async def save_slot(self, slot: int, name: str) -> int:
        self.saves_tried += 1
        self.is_saving.set()
        await self.may_save.wait()
        if self.save_fails:
            raise self.save_fails
        return await super().save_slot(slot, name)

    async def restore_slot(self, slot: int, name: str) -> int:
        if self.restore_fails:
            raise self.restore_fails
        return await super().restore_slot(slot, name)


class House:
    """An engine, its slots and their caches, as they are after the service was started."""

    def __init__(
        self, folder: Path, *, slots: int = 2, most_bytes: int = 1_000_000, makes_snapshots: bool = True
    ) -> None:
        self.folder = folder
        self.slots = slots
        self.engine = MoodyEngine(slots=slots, snapshot_folder=folder if makes_snapshots else None)
        self.table = SlotTable(slots, patience_seconds=FOR_EVER, longest_queue=100)
        self.caches = SlotCaches(self.engine, self.table, SnapshotFolder(folder, most_bytes=most_bytes))

    def conversation(self, owner: str) -> HeldConversation:
        return HeldConversation(owner, self.engine, self.caches)

    def conversations(self) -> list[HeldConversation]:
        return [self.conversation(owner) for owner in MARKERS]

    def in_slots(self) -> list[str]:
        return [self.engine.held(slot) for slot in range(self.slots)]

    def in_files(self) -> dict[str, str]:
        """Return the text of each owner's snapshot."""
        return {file.stem.partition("-")[2]: self._text(file) for file in self.folder.glob("*")}

    def _text(self, file: Path) -> str:
        tokens = tuple(json.loads(file.read_text(encoding="ascii")))
        return self.engine.prompt_text(GenerationRequest(tokens, 0, 1, 0.0, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


@pytest.fixture
def house(folder: Path) -> House:
    return House(folder)


def question(conversation: HeldConversation) -> str:
    return f"{MARKERS[conversation.owner]}, what of it?"


async def test_with_more_conversations_than_slots_no_follow_up_reads_anything_twice(house: House) -> None:
    conversations = house.conversations()
    for each in conversations:
        await each.ask(question(each))
    for each in [*conversations, *reversed(conversations), *conversations]:
        assert (await each.ask("and then?")).is_warm


async def test_a_conversation_that_goes_on_in_its_slot_touches_no_file(house: House) -> None:
    first, second = house.conversation("a"), house.conversation("b")
    for _ in range(3):
        await first.ask("what of it?")
        await second.ask("and of that?")

    assert (house.engine.saved, house.engine.restored) == ([], [])


async def test_after_a_restart_of_the_engine_only_what_is_new_is_read(house: House) -> None:
    conversations = house.conversations()
    for each in conversations:
        await each.ask(question(each))
    await house.caches.save_all()
    await house.engine.close()

    for each in conversations:
        assert (await each.ask("and then?")).is_warm


async def test_after_a_restart_of_the_service_only_what_is_new_is_read(house: House, folder: Path) -> None:
    before = house.conversation("a")
    await before.ask(question(before))
    await house.caches.save_all()
    restarted = House(folder).conversation("a")
    restarted.tokens = before.tokens

    assert (await restarted.ask("and then?")).is_warm


async def test_an_engine_that_died_costs_what_was_read_since_the_last_save(house: House) -> None:
    conversation = house.conversation("a")
    await conversation.ask(question(conversation))
    saved = len(conversation.tokens)
    await house.caches.save_idle()
    await conversation.ask("and then?")
    await house.engine.close()  # without a chance to save
    turn = await conversation.ask("and after that?")

    assert turn.cached_tokens == saved
    assert house.engine.saves_tried == 1


async def test_what_a_dead_engine_held_is_not_saved_as_somebodys(house: House) -> None:
    first, second = house.conversation("a"), house.conversation("b")
    await first.ask(question(first))
    await house.engine.close()
    await second.ask(question(second))
    await house.caches.save_all()

    assert list(house.in_files()) == ["b"]


async def test_the_former_holders_text_is_gone_from_the_slot(house: House) -> None:
    for each in house.conversations():
        async with house.caches.lease(each.owner) as lease:
            await lease.prepare(await house.engine.load())
            assert house.engine.held(lease.slot) == ""
            await each.ask_in(lease.slot, question(each))


async def test_without_snapshots_conversations_are_cold_and_apart(folder: Path) -> None:
    house = House(folder, slots=1, makes_snapshots=False)
    first, second = house.conversation("a"), house.conversation("b")
    for each in (first, second, first, second):
        turn = await each.ask(question(each))
        assert turn.cached_tokens == 0

    assert (await second.ask("and then?")).is_warm
    assert not await house.caches.save_idle() or not house.in_files()


async def test_without_a_budget_there_are_no_files(folder: Path) -> None:
    house = House(folder, most_bytes=0)
    for each in house.conversations():
        await each.ask(question(each))
    await house.caches.save_all()

    assert house.in_files() == {}


async def test_idle_time_saves_what_changed_and_only_that(house: House) -> None:
    first, second = house.conversation("a"), house.conversation("b")
    for each in (first, second):
        await each.ask(question(each))
    found = [await house.caches.save_idle(), await house.caches.save_idle()]
    await second.ask("and then?")
    found.append(await house.caches.save_idle())

    assert found == [True, False, True]
    assert [name.removeprefix("5c1bed-") for name in house.engine.saved] == ["a.kv", "b.kv", "b.kv"]


async def test_idle_time_leaves_a_slot_in_use_alone(house: House) -> None:
    first = house.conversation("a")
    async with house.caches.lease("a") as lease:
        await lease.prepare(await house.engine.load())
        await first.ask_in(lease.slot, question(first))
        await house.caches.save_idle()
        await house.caches.save_all()

    assert house.engine.saved == []


async def test_idle_time_ends_when_somebody_waits(folder: Path) -> None:
    house = House(folder, slots=2)
    first, second, third = house.conversations()[:3]
    await first.ask(question(first))
    await second.ask(question(second))
    house.engine.may_save = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.caches.save_idle)
        await house.engine.is_saving.wait()
        async with house.caches.lease("a"), house.caches.lease("b"):
            tasks.start_soon(third.ask, question(third))
            await wait_all_tasks_blocked()
            house.engine.may_save.set()
            await wait_all_tasks_blocked()
            assert [name.removeprefix("5c1bed-") for name in house.engine.saved] == ["a.kv"]


async def test_a_model_that_is_not_loaded_is_not_loaded_to_save_or_to_forget(house: House) -> None:
    conversation = house.conversation("a")
    await conversation.ask(question(conversation))
    await house.engine.close()
    await house.caches.save_idle()
    await house.caches.save_all()
    await house.caches.forget(["a"])

    assert not house.engine.is_loaded


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), EngineFailed("refused")])
async def test_a_snapshot_that_cannot_be_saved_fails_no_answer_and_is_logged_once(
    house: House, failure: CodingAssistantError | OSError, caplog: pytest.LogCaptureFixture
) -> None:
    house.engine.save_fails = failure
    conversations = house.conversations()
    with caplog.at_level(logging.WARNING):
        for each in conversations:
            await each.ask(question(each))
    assert [record.levelname for record in caplog.records] == ["WARNING"]

    house.engine.save_fails = None
    for each in conversations:
        await each.ask(question(each))
    assert (await conversations[0].ask("and then?")).is_warm


async def test_a_folder_that_cannot_be_made_fails_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    house = House(tmp_path / "file" / "snapshots")
    for each in house.conversations():
        await each.ask(question(each))
    await house.caches.save_all()
    await house.caches.forget(["a"])


@pytest.mark.parametrize("damage", ["truncated", "random", "the engine dies of it"])
async def test_a_snapshot_that_cannot_be_restored_goes_and_the_prompt_is_read_anew(
    house: House, damage: str
) -> None:
    conversations = house.conversations()
    for each in conversations:
        await each.ask(question(each))
    first = conversations[0]
    file = next(house.folder.glob("*-a.kv"))
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-5])
    elif damage == "random":
        file.write_bytes(bytes(range(256)))
    else:
        house.engine.restore_fails = EngineDied("It died.")
    turn = await first.ask("and then?")

    assert turn.cached_tokens == 0
    assert not file.exists()
    assert (await first.ask("and now?")).is_warm


async def test_what_is_forgotten_is_in_no_slot_and_no_file(house: House) -> None:
    conversations = house.conversations()
    for each in [*conversations, *conversations]:
        await each.ask(question(each))
    await house.caches.save_all()
    (house.folder / "0dd-a.kv").write_text("[]", encoding="ascii")  # of another model
    await house.caches.forget(["a", "e"])

    assert sorted(house.in_files()) == ["b", "c", "d"]
    kept = "".join([*house.in_slots(), *house.in_files().values()])
    assert MARKERS["a"] not in kept
    assert MARKERS["e"] not in kept
    assert (await conversations[3].ask("and then?")).is_warm
    assert (await conversations[4].ask("and then?")).cached_tokens == 0


async def test_what_is_forgotten_while_it_is_being_saved_is_gone(house: House) -> None:
    conversation = house.conversation("a")
    await conversation.ask(question(conversation))
    house.engine.may_save = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.caches.save_idle)
        await house.engine.is_saving.wait()
        tasks.start_soon(house.caches.forget, ["a"])
        await wait_all_tasks_blocked()
        house.engine.may_save.set()

    assert house.in_files() == {}
    assert house.in_slots() == ["", ""]


async def test_what_is_forgotten_while_it_is_answered_is_gone_with_the_answer(house: House) -> None:
    conversation = house.conversation("a")
    async with house.caches.lease("a") as lease:
        await lease.prepare(await house.engine.load())
        await conversation.ask_in(lease.slot, question(conversation))
        await house.caches.forget(["a"])
        assert MARKERS["a"] in house.engine.held(lease.slot)
        await house.caches.keep_front(lease, FRONT)
    await house.caches.save_all()

    assert house.in_files() == {}
    assert house.in_slots() == ["", ""]


async def test_what_is_forgotten_while_its_question_waits_is_gone_with_the_answer(folder: Path) -> None:
    house = House(folder, slots=1)
    conversation = house.conversation("a")
    async with anyio.create_task_group() as tasks, house.caches.lease("b"):
        tasks.start_soon(conversation.ask, question(conversation))
        await wait_all_tasks_blocked()
        await house.caches.forget(["a"])
    await house.caches.save_all()

    assert len(house.engine.requests) == 1
    assert house.in_files() == {}
    assert house.in_slots() == [""]


async def test_a_new_conversation_begins_with_the_common_front(house: House) -> None:
    front = await house.engine.tokenize("What is known of the project.")
    async with house.caches.lease(FRONT) as lease:
        info = await house.engine.load()
        await lease.prepare(info)
        async for _ in house.engine.read(front, slot=lease.slot):
            pass
        assert not house.caches.has_front(FRONT, info)
        await house.caches.keep_front(lease, FRONT)
        assert house.caches.has_front(FRONT, info)

    for each in house.conversations():
        each.tokens = front
        turn = await each.ask(question(each), front=FRONT)
        assert turn.cached_tokens == len(front)
    assert house.engine.saved.count("5c1bed-f407.kv") == 1
    assert not house.caches.has_front(FRONT, EngineInfo("other", 1_024, 2, snapshots="0dd"))
    assert not house.caches.has_front(FRONT, EngineInfo("none", 1_024, 2))


async def test_a_front_is_no_substitute_for_what_the_conversation_has_itself(house: House) -> None:
    conversations = house.conversations()
    for each in conversations:
        await each.ask(question(each))
    async with house.caches.lease(FRONT) as lease:
        await lease.prepare(await house.engine.load())
        async for _ in house.engine.read(await house.engine.tokenize("Known."), slot=lease.slot):
            pass
        await house.caches.keep_front(lease, FRONT)

    assert (await conversations[0].ask("and then?", front=FRONT)).is_warm


async def test_what_was_read_for_a_conversation_to_come_is_its_own_when_it_begins(house: House) -> None:
    draft = house.conversation("a")
    await draft.ask(question(draft))
    await house.caches.save_idle()
    begun = house.conversation("b")
    begun.tokens = draft.tokens
    await house.caches.hand_over("a", "b")

    turn = await begun.ask("and then?")
    assert turn.is_warm
    assert turn.slot == 0
    assert list(house.in_files()) == ["b"]
    await house.caches.forget(["b"])
    assert (house.in_files(), house.in_slots()) == ({}, ["", ""])


async def test_what_was_read_ahead_is_handed_over_from_disk_too(folder: Path) -> None:
    house = House(folder, slots=1)
    draft, other = house.conversation("a"), house.conversation("c")
    await draft.ask(question(draft))
    await other.ask(question(other))
    begun = house.conversation("b")
    begun.tokens = draft.tokens
    await house.caches.hand_over("a", "b")

    assert (await begun.ask("and then?")).is_warm


async def test_it_is_known_who_finds_something(house: House) -> None:
    first, second, third = house.conversations()[:3]
    await first.ask(question(first))
    info = await house.engine.load()
    assert house.caches.is_warm("a", info)
    assert not house.caches.is_warm("b", info)
    for each in (second, third):
        await each.ask(question(each))
    assert house.caches.is_warm("a", info)  # on disk by now
    await house.engine.close()
    info = await house.engine.load()
    assert [house.caches.is_warm(owner, info) for owner in "abc"] == [True, False, False]


async def test_a_slot_that_was_only_held_is_still_its_formers(folder: Path) -> None:
    house = House(folder, slots=1)
    conversation = house.conversation("a")
    await conversation.ask(question(conversation))
    async with house.caches.lease("b"):
        pass  # the model could not be loaded, say

    assert (await conversation.ask("and then?")).is_warm
    assert house.engine.saved == []


async def test_who_comes_back_while_his_slot_is_being_taken_over_loses_nothing(house: House) -> None:
    first, second, third = house.conversations()[:3]
    await first.ask(question(first))
    await second.ask(question(second))

    async with house.caches.lease("c") as lease:
        assert MARKERS["a"] in house.engine.held(lease.slot)
        assert (await first.ask("and then?")).is_warm
        assert [text.count(MARKERS["a"]) for text in house.in_slots()] == [0, 1]
        await lease.prepare(await house.engine.load())
        await third.ask_in(lease.slot, question(third))

    assert (await second.ask("and then?")).is_warm
    assert (await first.ask("and now?")).is_warm


async def test_cancelling_while_the_formers_text_is_saved_loses_neither(folder: Path) -> None:
    house = House(folder, slots=1)
    first, second = house.conversation("a"), house.conversation("b")
    await first.ask(question(first))
    house.engine.may_save = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second.ask, question(second))
        await house.engine.is_saving.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        house.engine.may_save.set()

    assert MARKERS["a"] in house.in_files()["a"]
    assert (await first.ask("and then?")).is_warm
    assert MARKERS["b"] not in "".join([*house.in_slots(), *house.in_files().values()])


class Traffic:
    """Conversations that ask, give up and are forgotten at once, while what is kept is watched."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._conversations = {each.owner: each for each in house.conversations()}
        self._scopes: list[anyio.CancelScope] = []

    async def ask(self, owner: str) -> None:
        conversation = self._conversations[owner]
        with anyio.CancelScope() as scope:
            self._scopes.append(scope)
            await conversation.ask(question(conversation))

    def give_up(self, number: int) -> None:
        if self._scopes:
            self._scopes[number % len(self._scopes)].cancel()

    async def restart(self) -> None:
        """End the engine, and with it the answers that it writes."""
        for scope in self._scopes:
            scope.cancel()
        for _ in range(3):
            await checkpoint()
        await self._house.engine.close()

    def require_that_each_has_only_its_own(self) -> None:
        """Nothing is where it does not belong: in another's snapshot, in two slots, in one with another's."""
        for owner, text in self._house.in_files().items():
            assert {other for other, marker in MARKERS.items() if marker in text} <= {owner}
        in_slots = [[o for o, marker in MARKERS.items() if marker in text] for text in self._house.in_slots()]
        assert all(len(owners) <= 1 for owners in in_slots)
        assert len({owner for owners in in_slots for owner in owners}) == sum(map(len, in_slots))


STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from(sorted(MARKERS)),
            st.sampled_from(["give up", "give up", "save", "forget", "restart"]),
        ),
        st.integers(0, 20),
        st.integers(0, 30),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_is_cancelled_forgotten_or_restarted_each_keeps_only_its_own(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    async def run() -> None:
        house = House(tmp_path_factory.mktemp("house") / "snapshots")
        traffic = Traffic(house)
        async with anyio.create_task_group() as tasks:
            for what, number, moments in steps:
                match what:
                    case "give up":
                        traffic.give_up(number)
                    case "save":
                        tasks.start_soon(house.caches.save_idle)
                    case "forget":
                        tasks.start_soon(house.caches.forget, [sorted(MARKERS)[number % len(MARKERS)]])
                    case "restart":
                        tasks.start_soon(traffic.restart)
                    case owner:
                        tasks.start_soon(traffic.ask, owner)
                for _ in range(moments):
                    await checkpoint()
        traffic.require_that_each_has_only_its_own()
        await house.caches.save_all()
        traffic.require_that_each_has_only_its_own()
        await house.caches.forget(list(MARKERS))
        assert house.in_files() == {}
        assert "".join(house.in_slots()) == ""

    anyio.run(run)
