"""Several models in one process: which one answers, what a switch keeps, and who has the memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from coding_assistant import contract
from coding_assistant.assistant import AsyncAssistant
from coding_assistant.contract import (
    ConversationPatch,
    LoadedEvent,
    PrefetchRequest,
    QueryRequest,
    QueryResponse,
    ReceiptView,
)
from coding_assistant.domain import EngineInfo, PromptRead
from coding_assistant.errors import (
    DataDirectoryUnusable,
    EngineBusy,
    EngineDied,
    ModelMissing,
    ModelUnknown,
    NotEnoughMemory,
)
from coding_assistant.inference.snapshots import SnapshotFolder
from coding_assistant.settings import Settings
from support.cramped_engine import CrampedEngine, Memory
from support.scripted_engine import Script, ScriptedEngine, by_name
from support.shop import write_shop

pytestmark = pytest.mark.anyio

Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncAssistant]]

USUAL, OTHER, THIRD = "phi3-mini", "codellama-7b", "llama3.1-8b"
FIRST, NEXT = "When does a session end?", "and why is that?"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def opened(home: Path, tmp_path: Path) -> Opener:
    root = write_shop(tmp_path)

    @asynccontextmanager
    async def open_with(
        *engines: ScriptedEngine, patience_seconds: float = 60.0
    ) -> AsyncIterator[AsyncAssistant]:
        settings = Settings(home=home, model_name=USUAL, patience_seconds=patience_seconds)
        async with AsyncAssistant.open(settings, make_engine=by_name(*engines)) as assistant:
            await assistant.add_project(str(root))
            yield assistant

    return open_with


def engine(name: str, home: Path, *scripts: Script | str) -> ScriptedEngine:
    return ScriptedEngine(*scripts, name=name, slots=1, snapshot_folder=home / "snapshots")


def cramped(home: Path, memory: Memory, name: str, *scripts: Script | str, **how: bool) -> CrampedEngine:
    return CrampedEngine(name, memory, *scripts, snapshot_folder=home / "snapshots", **how)


def follow_up(first: QueryResponse, *, model: str | None = None) -> QueryRequest:
    return QueryRequest(query=NEXT, conversation_id=first.conversation_id, model=model)


def receipt(response: QueryResponse) -> ReceiptView:
    assert response.receipt is not None
    return response.receipt


async def loaded(assistant: AsyncAssistant) -> list[str]:
    return [each.name for each in await assistant.models() if each.loaded]


# --- Which model answers ----------------------------------------------------------------------------


async def test_the_requests_model_goes_before_the_conversations_and_that_before_the_settings(
    opened: Opener, home: Path
) -> None:
    async with opened(*(engine(name, home) for name in (USUAL, OTHER, THIRD))) as assistant:
        usual = await assistant.query(QueryRequest(query=FIRST))
        named = await assistant.query(follow_up(usual, model=OTHER))
        kept = await assistant.query(follow_up(usual))
        again = await assistant.query(follow_up(usual, model=THIRD))
        view = await assistant.conversation(usual.conversation_id)
        history = await assistant.history(usual.conversation_id)

    assert [each.model for each in (usual, named, kept, again)] == [USUAL, OTHER, OTHER, THIRD]
    assert view.model == THIRD
    assert [each.model for each in history.messages if each.model] == [USUAL, OTHER, OTHER, THIRD]


async def test_a_model_is_chosen_for_a_conversation_and_given_back_to_the_settings(
    opened: Opener, home: Path
) -> None:
    async with opened(engine(USUAL, home), engine(OTHER, home)) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        changed = await assistant.change_conversation(
            first.conversation_id, ConversationPatch(model=OTHER, pinned=True)
        )
        other = await assistant.query(follow_up(first))
        await assistant.change_conversation(first.conversation_id, ConversationPatch(title="mine"))
        untouched = await assistant.conversation(first.conversation_id)
        await assistant.change_conversation(first.conversation_id, ConversationPatch(model=None))
        usual = await assistant.query(follow_up(first))

    assert (changed.model, changed.pinned) == (OTHER, True)
    assert (other.model, untouched.model, usual.model) == (OTHER, OTHER, USUAL)


async def test_a_choice_outlives_the_process(opened: Opener, home: Path) -> None:
    async with opened(engine(USUAL, home), engine(OTHER, home)) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST, model=OTHER))
    async with opened(engine(USUAL, home), engine(OTHER, home)) as assistant:
        assert (await assistant.query(follow_up(first))).model == OTHER


async def test_an_unknown_model_is_refused_with_a_suggestion_and_changes_nothing(
    opened: Opener, home: Path
) -> None:
    async with opened(engine(USUAL, home)) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        with pytest.raises(ModelUnknown) as asked:
            await assistant.query(follow_up(first, model="phi3-minni"))
        with pytest.raises(ModelUnknown):
            await assistant.change_conversation(first.conversation_id, ConversationPatch(model="phi3-minni"))
        with pytest.raises(ModelUnknown):
            await assistant.query(QueryRequest(query=FIRST, model="/" + "x" * 300 + ".gguf"))
        with pytest.raises(ModelMissing):
            await assistant.query(follow_up(first, model=OTHER))
        view = await assistant.conversation(first.conversation_id)

    assert "phi3-mini" in asked.value.hint
    assert (view.model, view.message_count) == (None, 2)


# --- What a switch keeps ----------------------------------------------------------------------------


async def test_a_switch_reads_everything_and_says_why_and_the_way_back_reads_only_what_is_new(
    opened: Opener, home: Path
) -> None:
    async with opened(engine(USUAL, home), engine(OTHER, home)) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        there = await assistant.query(follow_up(first, model=OTHER))
        back = await assistant.query(follow_up(first, model=USUAL))

    assert (receipt(first).cold, receipt(first).cached) == ("", 0)
    assert receipt(there).cached == 0
    assert receipt(there).cold == "codellama-7b has not read this conversation yet."
    assert receipt(back).cold == ""
    assert receipt(back).cached >= receipt(first).used


async def test_the_way_back_is_warm_after_a_restart_too(opened: Opener, home: Path) -> None:
    async with opened(engine(USUAL, home), engine(OTHER, home)) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        await assistant.query(follow_up(first, model=OTHER))
    async with opened(engine(USUAL, home), engine(OTHER, home)) as assistant:
        back = await assistant.query(follow_up(first, model=USUAL))
    assert receipt(back).cached >= receipt(first).used


async def test_what_every_model_has_read_goes_with_the_conversation(opened: Opener, home: Path) -> None:
    engines = engine(USUAL, home, "The secret is 4711."), engine(OTHER, home, "The secret is 4711.")
    async with opened(*engines) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        await assistant.query(follow_up(first, model=OTHER))
    snapshots = [each.name for each in (home / "snapshots").iterdir()]
    assert len([name for name in snapshots if first.conversation_id in name]) == 2

    async with opened(*engines) as assistant:
        await assistant.query(follow_up(first))  # one of the two is loaded, the other one is not
        await assistant.delete_conversation(first.conversation_id)
        assert not any("4711" in each.held(0) for each in engines)
    assert not [each for each in (home / "snapshots").iterdir() if first.conversation_id in each.name]


async def test_one_model_that_fails_to_forget_keeps_no_other_from_it(
    opened: Opener, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = engine(USUAL, home), engine(OTHER, home)
    delete, calls = SnapshotFolder.delete, [0]

    def fails_at_first(folder: SnapshotFolder, *owners: str) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise DataDirectoryUnusable("A snapshot cannot be deleted just now.")
        delete(folder, *owners)

    async with opened(*engines) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        await assistant.query(follow_up(first, model=OTHER))
        monkeypatch.setattr(SnapshotFolder, "delete", fails_at_first)
        with pytest.raises(DataDirectoryUnusable):
            await assistant.delete_conversation(first.conversation_id, permanently=True)
        assert [each.held(0) for each in engines] == ["", ""]


async def test_the_context_tells_which_model_is_next_and_what_it_has_read(opened: Opener, home: Path) -> None:
    async with opened(engine(USUAL, home), engine(OTHER, home)) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        await assistant.change_conversation(first.conversation_id, ConversationPatch(model=OTHER))
        cold = (await assistant.context(first.conversation_id)).next
        await assistant.query(follow_up(first))
        warm = (await assistant.context(first.conversation_id)).next
        await assistant.change_conversation(first.conversation_id, ConversationPatch(model=None))
        partly = (await assistant.context(first.conversation_id)).next

    assert cold is not None
    assert warm is not None
    assert partly is not None
    assert (cold.model, cold.cached, cold.cold) == (
        OTHER,
        0,
        "codellama-7b has not read this conversation yet.",
    )
    assert (warm.model, warm.cached, warm.cold) == (OTHER, warm.held, "")
    assert (partly.model, partly.cached, partly.cold) == (USUAL, None, "")


async def test_a_question_to_one_model_stops_what_another_one_does_for_nobody(
    opened: Opener, home: Path
) -> None:
    class Endless(ScriptedEngine):
        """Reads ahead for ever."""

        async def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
            async with aclosing(super().read(tokens, slot=slot)) as reading:
                async for read in reading:
                    yield read
            try:
                await anyio.sleep_forever()
            finally:
                self.stopped = True

        stopped = False

    reader = Endless(name=OTHER, slots=1)
    async with opened(engine(USUAL, home), reader) as assistant:
        await assistant.prefetch(PrefetchRequest(text="When does a session", model=OTHER))
        while not reader.read_ahead:
            await anyio.wait_all_tasks_blocked()
        await assistant.query(QueryRequest(query=FIRST))
        assert reader.stopped


# --- Memory -----------------------------------------------------------------------------------------


async def test_two_models_stay_where_there_is_room_for_both(opened: Opener, home: Path) -> None:
    memory = Memory(room=2)
    async with opened(cramped(home, memory, USUAL), cramped(home, memory, OTHER)) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        await assistant.query(follow_up(first, model=OTHER))
        assert await loaded(assistant) == [USUAL, OTHER]


async def test_the_model_that_was_unused_for_the_longest_makes_way_and_comes_back_warm(
    opened: Opener, home: Path
) -> None:
    memory = Memory(room=2)
    engines = [cramped(home, memory, name) for name in (USUAL, OTHER, THIRD)]
    async with opened(*engines) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST, model=USUAL))
        await assistant.query(QueryRequest(query=FIRST, model=OTHER))
        await assistant.query(QueryRequest(query=FIRST, model=USUAL))
        await assistant.query(QueryRequest(query=FIRST, model=THIRD))
        assert await loaded(assistant) == [USUAL, THIRD]
        await assistant.query(QueryRequest(query=FIRST, model=OTHER))
        assert await loaded(assistant) == [OTHER, THIRD]
        back = await assistant.query(follow_up(first, model=USUAL))

    assert receipt(back).cached >= receipt(first).used
    assert memory.loading_at_once == 1


async def test_a_question_waits_for_the_memory_of_a_model_that_answers_and_is_told(
    opened: Opener, home: Path
) -> None:
    memory = Memory(room=1)
    busy, other = cramped(home, memory, USUAL, Script(waits=True)), cramped(home, memory, OTHER)
    async with opened(busy, other) as assistant:
        first = await assistant.begin(QueryRequest(query=FIRST))
        await busy.waiting.wait()
        second = await assistant.begin(QueryRequest(query=FIRST, model=OTHER))
        told = []
        async with aclosing(assistant.follow(second)) as events:
            async for event in events:
                told.append(event.name)
                if isinstance(event.data, contract.WaitingEvent):
                    assert event.data.ahead == 1
                    busy.go_on()
        assert (await assistant.generation(first)).state == "finished"
        assert await loaded(assistant) == [OTHER]

    assert told.index("waiting") < len(told) - 1 - told[::-1].index("loading") < told.index("text")
    assert told[-1] == "finished"


async def test_who_waits_too_long_for_memory_is_told_when_to_come_back(opened: Opener, home: Path) -> None:
    memory = Memory(room=1)
    busy, other = cramped(home, memory, USUAL, Script(waits=True)), cramped(home, memory, OTHER)
    async with opened(busy, other, patience_seconds=0.05) as assistant:
        first = await assistant.begin(QueryRequest(query=FIRST))
        await busy.waiting.wait()
        with pytest.raises(EngineBusy, match=USUAL) as refused:
            await assistant.query(QueryRequest(query=FIRST, model=OTHER))
        assert refused.value.retry_after_seconds
        busy.go_on()
        async for event in assistant.follow(first):
            last = event
    assert last.name == "finished"


async def test_a_model_that_never_fits_takes_nobodys_memory(opened: Opener, home: Path) -> None:
    memory = Memory(room=1)
    huge = CrampedEngine(OTHER, memory, missing_bytes=10**15)
    async with opened(cramped(home, memory, USUAL), huge) as assistant:
        await assistant.query(QueryRequest(query=FIRST))
        with pytest.raises(NotEnoughMemory):
            await assistant.query(QueryRequest(query=FIRST, model=OTHER))
        assert await loaded(assistant) == [USUAL]


async def test_who_chose_a_model_that_does_not_load_is_told_the_way_back(opened: Opener, home: Path) -> None:
    memory = Memory(1)
    engines = cramped(home, memory, USUAL), CrampedEngine(OTHER, memory, missing_bytes=10**15)
    async with opened(*engines) as assistant:
        first = await assistant.query(QueryRequest(query=FIRST))
        with pytest.raises(NotEnoughMemory) as caught:
            await assistant.query(follow_up(first, model=OTHER))
        assert OTHER in caught.value.hint
        assert "/model -" in caught.value.hint
        with pytest.raises(NotEnoughMemory) as caught:
            await assistant.query(follow_up(first))
        assert "/model -" in caught.value.hint


async def test_reading_ahead_takes_nobodys_memory(opened: Opener, home: Path) -> None:
    memory = Memory(room=1)
    engines = cramped(home, memory, USUAL), cramped(home, memory, OTHER)
    async with opened(*engines) as assistant:
        await assistant.query(QueryRequest(query=FIRST))
        await assistant.prefetch(PrefetchRequest(text="When does a session", model=OTHER))
        await anyio.wait_all_tasks_blocked()
        assert await loaded(assistant) == [USUAL]
        assert (await assistant.query(QueryRequest(query=FIRST, model=OTHER))).model == OTHER


class FallenBack(CrampedEngine):
    """Has something to say of each load."""

    async def load(self) -> EngineInfo:
        return replace(await super().load(), notice="The bundled engine runs it.")


async def test_what_a_load_for_no_question_had_to_say_the_next_answer_says_once(
    opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(FallenBack(USUAL, Memory(1))) as assistant:
        await assistant.load_model(USUAL)
        told = [
            [
                event.data.notice
                async for event in assistant.ask(QueryRequest(query=FIRST))
                if isinstance(event.data, LoadedEvent)
            ]
            for _ in range(2)
        ]

    assert told == [["The bundled engine runs it."], []]
    assert "The bundled engine runs it." in caplog.text


async def test_a_load_that_nobody_wants_any_more_is_given_up(opened: Opener, home: Path) -> None:
    slow = cramped(home, Memory(room=1), USUAL, hold_loads=True)
    async with opened(slow) as assistant:
        asked = await assistant.begin(QueryRequest(query=FIRST))
        await slow.is_loading.wait()
        await assistant.cancel(asked)
        await anyio.wait_all_tasks_blocked()
        assert (slow.given_up, slow.loads) == (1, 0)
        slow.let_load()
        assert (await assistant.query(QueryRequest(query=FIRST))).model == USUAL


async def test_who_leaves_does_not_take_the_load_from_the_others(opened: Opener, home: Path) -> None:
    slow = cramped(home, Memory(room=1), USUAL, hold_loads=True)
    async with opened(slow) as assistant, anyio.create_task_group() as tasks:
        leaves = await assistant.begin(QueryRequest(query=FIRST))
        await slow.is_loading.wait()
        tasks.start_soon(assistant.load_model, USUAL)
        await anyio.wait_all_tasks_blocked()
        await assistant.cancel(leaves)
        slow.let_load()
    assert (slow.given_up, slow.loads) == (0, 1)


async def test_the_death_of_one_model_leaves_the_others(opened: Opener, home: Path) -> None:
    memory = Memory(room=2)
    dying = cramped(home, memory, OTHER, Script(fails=EngineDied("It was killed.")), "It is back.")
    steady = cramped(home, memory, USUAL, Script(waits=True), "It is in [1].")
    async with opened(steady, dying) as assistant:
        answering = await assistant.begin(QueryRequest(query=FIRST))
        await steady.waiting.wait()
        with pytest.raises(EngineDied):
            await assistant.query(QueryRequest(query=FIRST, model=OTHER))
        await dying.die()
        steady.go_on()
        async for event in assistant.follow(answering):
            last = event
        assert last.name == "finished"
        assert (await assistant.query(QueryRequest(query=FIRST, model=OTHER))).response == "It is back."
        assert steady.loads == 1


# --- Loading and unloading --------------------------------------------------------------------------


async def test_a_model_is_loaded_before_it_is_asked_and_unloaded_with_what_it_has_read_kept(
    opened: Opener, home: Path
) -> None:
    memory = Memory(room=1)
    async with opened(cramped(home, memory, USUAL), cramped(home, memory, OTHER)) as assistant:
        view = await assistant.load_model(OTHER)
        again = await assistant.load_model(OTHER)
        assert view.loaded
        assert view.memory_bytes
        assert view.last_used is not None
        assert again.loaded
        first = await assistant.query(QueryRequest(query=FIRST, model=OTHER))
        gone = await assistant.unload_model(OTHER)
        assert (gone.loaded, gone.memory_bytes, memory.loaded) == (False, None, [])
        assert not (await assistant.unload_model(OTHER)).loaded
        assert not (await assistant.unload_model(THIRD)).loaded
        found = (await assistant.context(first.conversation_id)).next
        assert found is not None
        assert found.cached == found.held
        assert memory.loaded == []
        back = await assistant.query(follow_up(first))
        with pytest.raises(ModelUnknown):
            await assistant.load_model("phi3-minni")
        with pytest.raises(ModelUnknown):
            await assistant.unload_model("phi3-minni")

    assert receipt(back).cached >= receipt(first).used


async def test_a_model_that_answers_is_not_unloaded(opened: Opener, home: Path) -> None:
    busy = engine(USUAL, home, Script(waits=True))
    async with opened(busy) as assistant:
        asked = await assistant.begin(QueryRequest(query=FIRST))
        await busy.waiting.wait()
        with pytest.raises(EngineBusy):
            await assistant.unload_model(USUAL)
        assert await loaded(assistant) == [USUAL]
        busy.go_on()
        async for event in assistant.follow(asked):
            last = event
    assert last.name == "finished"


async def test_what_is_loading_is_shown_so(opened: Opener, home: Path) -> None:
    slow = cramped(home, Memory(room=1), USUAL, hold_loads=True)
    async with opened(slow) as assistant, anyio.create_task_group() as tasks:
        tasks.start_soon(assistant.load_model, USUAL)
        await slow.is_loading.wait()
        view = await assistant.model(USUAL)
        assert (view.selected, view.loading, view.loaded) == (True, True, False)
        slow.let_load()
