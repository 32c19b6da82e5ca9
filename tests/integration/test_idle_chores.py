"""What the model does while nobody asks: fronts of conversations to come, summaries of long ones."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from coding_assistant.assistant.chat_parts import ChatParts, make_chat_model, make_chat_parts
from coding_assistant.chat.ask import AskedQuestion, Sampling
from coding_assistant.chat.fronts import CodeAskedAbout
from coding_assistant.chat.generation import open_generations
from coding_assistant.chat.idle import Attention
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import (
    AnswerStarted,
    EngineEvent,
    GenerationRequest,
    Receipt,
    SummaryOrigin,
    TextPiece,
    Turn,
)
from coding_assistant.inference.reading_speed import ReadingSpeeds
from coding_assistant.inference.snapshots import SnapshotFolder
from coding_assistant.settings import Settings
from support.model_specs import PLAIN_SPEC
from support.scripted_engine import Script, ScriptedEngine

pytestmark = pytest.mark.anyio


@dataclass
class Chat:
    """A chat about one project, asked question by question."""

    parts: ChatParts
    store: ConversationStore
    about: CodeAskedAbout
    engine: ScriptedEngine

    def begin(self) -> str:
        """Begin a conversation."""
        session = self.store.create_session()
        return self.store.create_conversation(session_id=session.id, project_id=self.about.project.id).id

    async def ask(self, conversation_id: str, question: str) -> Turn:
        """Ask and return the turn as it is kept."""
        turn = self.store.begin_turn(conversation_id, question)
        async with open_generations() as generations:
            asked = AskedQuestion("s", turn, self.about, Sampling(max_tokens=800))
            started = AnswerStarted("s", turn, self.engine.name)
            made = generations.start(started, lambda made: self.parts.answering.answer(asked, made))
            await made.ended()
        return self.store.turn(turn.id)

    async def do_all_chores(self) -> None:
        """Let an idle time pass that is long enough for everything."""
        while await self.parts.idle.do_next():
            pass


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    root = tmp_path / "shop"
    root.mkdir()
    (root / "README.md").write_text("# Shop\n\nSells tea.\n")
    (root / "prices.py").write_text("class PriceList:\n    def gross(net):\n        return net * 1.19\n")
    return home


@asynccontextmanager
async def opened(home: Path, engine: ScriptedEngine, *, primer_tokens: int = 0) -> AsyncIterator[Chat]:
    root = home.parent / "shop"
    store = ConversationStore.open(home / "conversations.sqlite3")
    settings = Settings(home=home, slots=1, primer_tokens=primer_tokens)
    snapshots = SnapshotFolder(home / "snapshots", most_bytes=10**9)
    code = ProjectCode(root, home / "index.sqlite3")
    about = CodeAskedAbout(store.add_project(root, "shop"), code)
    model = make_chat_model(PLAIN_SPEC, engine, snapshots, ReadingSpeeds(home / "speeds.json"), settings)
    parts = make_chat_parts(model, store, Attention(), lambda: [about], primer_tokens=primer_tokens)
    try:
        yield Chat(parts, store, about, engine)
    finally:
        await parts.close()
        await code.close()
        store.close()


def engine_of(home: Path, *scripts: Script | str, context_tokens: int = 8_192) -> ScriptedEngine:
    return ScriptedEngine(
        *scripts, slots=1, context_tokens=context_tokens, snapshot_folder=home / "snapshots"
    )


def receipt_of(turn: Turn) -> Receipt:
    assert turn.answer is not None
    assert turn.answer.receipt is not None
    return turn.answer.receipt


async def test_a_new_conversation_begins_with_a_front_that_was_read_in_an_idle_time(home: Path) -> None:
    async with opened(home, engine_of(home, "It is in [1].")) as chat:
        cold = receipt_of(await chat.ask(chat.begin(), "What is the gross price?"))
        await chat.do_all_chores()
    async with opened(home, engine_of(home, "It is in [1].")) as chat:  # the engine has read nothing yet
        warm = receipt_of(await chat.ask(chat.begin(), "What is the gross price?"))
    assert cold.cached == 0
    system = next(section.tokens for section in warm.sections if section.name == "system")
    assert warm.cached >= system


async def test_a_conversation_is_told_of_the_project_only_once_that_costs_no_time(home: Path) -> None:
    engine = engine_of(home, "It is in [1].")
    async with opened(home, engine, primer_tokens=500) as chat:
        first = chat.begin()
        before = receipt_of(await chat.ask(first, "What is the gross price?"))
        await chat.do_all_chores()
        after = receipt_of(await chat.ask(chat.begin(), "What is the gross price?"))
        await chat.ask(first, "and the net one?")

    told = {section.name: section.tokens for section in after.sections}["primer"]
    assert {section.name: section.tokens for section in before.sections}["primer"] == 0
    assert told > 0
    assert after.cached >= told
    assert "PriceList" in engine.prompt_text(engine.requests[1]).partition("<|im_end|>")[0]
    # One that has begun without it goes on without it, or all of it would have to be read again.
    assert engine.requests[2].tokens[: before.used] == engine.requests[0].tokens


async def test_a_long_conversation_is_summarised_before_a_question_has_to_wait_for_it(home: Path) -> None:
    engine = engine_of(
        home, "word " * 700, "word " * 700, "The gross price is net times 1.19.", "Yes.", context_tokens=2_400
    )
    async with opened(home, engine) as chat:
        conversation = chat.begin()
        await chat.ask(conversation, "I call it the tea tax. What is the gross price?")
        await chat.ask(conversation, "and the net one?")
        assert chat.store.summary(conversation) is None
        await chat.do_all_chores()
        summary = chat.store.summary(conversation)
        asked = await chat.ask(conversation, "is it 1.19?")

    assert summary is not None
    assert summary.origin is SummaryOrigin.MODEL
    assert "1.19" in summary.text
    receipt = receipt_of(asked)
    sections = {section.name: section.tokens for section in receipt.sections}
    assert sections["summary"] > 0
    # What is left of the conversation was read again in the idle time.
    assert receipt.cached >= sections["system"] + sections["summary"]
    assert any("turn" in dropped.what for dropped in receipt.dropped)


async def test_chores_do_not_load_a_model(home: Path) -> None:
    engine = engine_of(home)
    async with opened(home, engine, primer_tokens=500) as chat:
        assert not await chat.parts.idle.do_next()
    assert not engine.is_loaded


async def test_a_primer_is_read_again_when_the_project_has_changed_much(home: Path) -> None:
    engine = engine_of(home, "It is in [1].")
    async with opened(home, engine, primer_tokens=500) as chat:
        await chat.ask(chat.begin(), "What is the gross price?")
        await chat.do_all_chores()
        fronts = len(engine.read_ahead)
        (chat.about.code.root / "README.md").write_text("# Shop\n\nSells tea, and coffee.\n" * 9)
        for name in ("orders", "stock", "users"):
            (chat.about.code.root / f"{name}.py").write_text(f"class {name.title()}:\n    items = []\n" * 9)
        await chat.ask(chat.begin(), "What is the gross price?")
        await chat.do_all_chores()
        assert len(engine.read_ahead) == fronts + 1
        await chat.ask(chat.begin(), "What is the gross price?")
    assert "orders.py" in engine.prompt_text(engine.requests[-1]).partition("<|im_end|>")[0]


async def test_what_is_deleted_leaves_no_summary_behind(home: Path) -> None:
    engine = engine_of(
        home,
        "word " * 700,
        "word " * 700,
        Script("You call it the tea tax.", waits=True),
        context_tokens=2_400,
    )
    async with opened(home, engine) as chat, anyio.create_task_group() as tasks:
        conversation = chat.begin()
        await chat.ask(conversation, "I call it the tea tax. What is the gross price?")
        await chat.ask(conversation, "and the net one?")
        await chat.parts.model.caches.save_idle()
        tasks.start_soon(chat.parts.idle.do_next)
        await engine.waiting.wait()
        async with chat.parts.attention.alone():
            chat.store.clear_conversation(conversation)
            await chat.parts.model.caches.forget([conversation])
        engine.go_on()
        await anyio.wait_all_tasks_blocked()
        assert chat.store.summary(conversation) is None
        assert "tea tax" not in engine.held(0)


class ForgetfulEngine(ScriptedEngine):
    """Does not tell the tokens of one piece in the middle of an answer."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        async for event in super().generate(request):
            is_the_one = isinstance(event, TextPiece) and event.text == " secret"
            yield TextPiece(" secret") if is_the_one else event


async def test_an_answer_whose_tokens_are_not_all_known_is_read_again_from_its_text(home: Path) -> None:
    engine = ForgetfulEngine("The secret is out.", "Yes.", slots=1)
    async with opened(home, engine) as chat:
        conversation = chat.begin()
        await chat.ask(conversation, "What is the gross price?")
        await chat.ask(conversation, "and the net one?")
    assert "The secret is out." in engine.prompt_text(engine.requests[1])
