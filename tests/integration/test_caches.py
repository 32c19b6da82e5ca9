"""Conversations on fewer slots, with the real server: what is read again, and whose text lies where."""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from coding_assistant.inference.caches import SlotCaches
from coding_assistant.inference.llama import LlamaEngine
from coding_assistant.inference.slots import SlotTable
from coding_assistant.inference.snapshots import SnapshotFolder
from support.held_conversation import HeldConversation
from support.llama_engines import llama_engine

pytestmark = [pytest.mark.anyio, pytest.mark.model]

SLOTS = 2
OWNERS = ("a1", "b2", "c3", "d4", "e5", "f6")
FRONT = "f407"

# How llama.cpp begins the state of a slot: a magic number, a version, the count of integers behind them. They
# are no token (-1), another version, the count of tokens, the tokens, and what else there is.
_STATE_MAGIC = b"qsgg"
_COUNT_AT = 20


@dataclass
class House:
    """The real engine with two slots and caches in a folder."""

    engine: LlamaEngine
    folder: Path
    caches: SlotCaches

    @classmethod
    def on(cls, weights: Path, folder: Path) -> "House":
        engine = llama_engine(weights, slots=SLOTS, context_tokens=1_024, snapshot_folder=folder)
        slots = SlotTable(SLOTS, patience_seconds=300.0, longest_queue=16)
        return cls(engine, folder, SlotCaches(engine, slots, SnapshotFolder(folder, most_bytes=10**9)))

    def conversations(self) -> list[HeldConversation]:
        return [HeldConversation(owner, self.engine, self.caches) for owner in OWNERS]

    def tokens_kept(self, owner: str) -> tuple[int, ...]:
        """Return what the owner's snapshot says that was read."""
        (file,) = self.folder.glob(f"*-{owner}.kv")
        state = file.read_bytes()
        start = state.index(_STATE_MAGIC)
        (count,) = struct.unpack_from("<I", state, start + _COUNT_AT)
        return struct.unpack_from(f"<{count}i", state, start + _COUNT_AT + 4)


@pytest.fixture
async def house(smollm2: Path, tmp_path: Path) -> AsyncIterator[House]:
    made = House.on(smollm2, tmp_path / "snapshots")
    try:
        yield made
    finally:
        await made.engine.close()


def first_question(owner: str) -> str:
    return f"The secret word of this conversation is canary{owner}canary. " * 5


async def test_with_more_conversations_than_slots_no_follow_up_reads_anything_twice(house: House) -> None:
    conversations = house.conversations()
    for each in conversations:
        await each.ask(first_question(each.owner))
    for each in [*conversations, *reversed(conversations)]:
        turn = await each.ask(" And what else is there to say?")
        assert turn.is_warm, turn


async def test_after_a_restart_of_engine_and_service_only_what_is_new_is_read(
    house: House, smollm2: Path
) -> None:
    conversations = house.conversations()
    for each in conversations:
        await each.ask(first_question(each.owner))
    await house.caches.save_all()
    await house.engine.close()
    first, second, *others = conversations
    assert (await first.ask(" And then?")).is_warm
    await house.engine.close()  # killed, as it were: what was read since is read again, and no more
    turn = await first.ask(" And then?")
    assert turn.new_tokens < 30
    await house.caches.save_all()

    restarted = House.on(smollm2, house.folder)
    try:
        for each in (first, second, *others):
            again = HeldConversation(each.owner, restarted.engine, restarted.caches, begins_with=each.tokens)
            assert (await again.ask(" And then?")).is_warm
    finally:
        await restarted.engine.close()


async def test_conversations_at_the_same_time_never_get_each_others_text(house: House) -> None:
    conversations = house.conversations()

    async def talk(conversation: HeldConversation) -> None:
        first = await conversation.ask(first_question(conversation.owner))
        assert first.cached_tokens == 0
        for _ in range(3):
            before = len(conversation.tokens)
            turn = await conversation.ask(" And what else is there to say?")
            assert before - 1 <= turn.cached_tokens <= before

    async with anyio.create_task_group() as tasks:
        for each in conversations:
            tasks.start_soon(talk, each)
    await house.caches.save_all()

    for each in conversations:
        kept = house.tokens_kept(each.owner)
        assert len(kept) >= len(each.tokens) - 1
        assert kept == each.tokens[: len(kept)]


async def test_forgetting_leaves_nothing_of_a_conversation(house: House) -> None:
    first, second, third = house.conversations()[:3]
    for each in (first, second, third):
        await each.ask(first_question(each.owner))
    await house.caches.save_all()
    await house.caches.forget([first.owner, second.owner, third.owner])

    assert list(house.folder.iterdir()) == []
    for each in (first, second, third):
        assert (await each.ask(" And then?")).cached_tokens == 0


async def test_a_new_conversation_begins_with_the_common_front(house: House) -> None:
    front = await house.engine.tokenize("What is known of the project: " + "it has parts. " * 30)
    async with house.caches.lease(FRONT) as lease:
        info = await house.engine.load()
        await lease.prepare(info)
        async for _ in house.engine.read(front, slot=lease.slot):
            pass
        await house.caches.keep_front(lease, FRONT)
    assert house.caches.has_front(FRONT, info)

    for owner in OWNERS:
        conversation = HeldConversation(owner, house.engine, house.caches, begins_with=front)
        turn = await conversation.ask(first_question(owner), front=FRONT)
        assert turn.cached_tokens == len(front)


async def test_a_truncated_snapshot_is_read_anew(house: House) -> None:
    conversations = house.conversations()
    for each in conversations:
        await each.ask(first_question(each.owner))
    await house.caches.save_all()
    for file in house.folder.glob("*.kv"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for each in conversations[:4]:
        assert (await each.ask(" And then?")).cached_tokens == 0
        assert (await each.ask(" And now?")).is_warm
