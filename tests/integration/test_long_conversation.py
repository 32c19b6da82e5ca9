"""A conversation of sixty turns, most of which a summary stands for: nothing of it is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.chat.model import LATEST_TURNS, kept_conversation
from coding_assistant.chat.receipt import turn_tokens
from coding_assistant.chat.rendering import ConversationText, render_conversation
from coding_assistant.chat.store import ConversationStore
from coding_assistant.contract import QueryRequest
from coding_assistant.domain import GenerationRequest, Turn
from coding_assistant.settings import Settings
from support.scripted_engine import ScriptedEngine, only

pytestmark = pytest.mark.anyio

TURNS = 60
CONTEXT_TOKENS = 2_500
GOODS = ("tea", "coffee", "bread", "cheese", "apples", "flour", "sugar", "honey")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    for number, good in enumerate(GOODS):
        write_price(root, good, number)
    return root


def write_price(root: Path, good: str, price: int) -> None:
    body = "\n".join(f"    total += {price} * {line}  # a part of the price of {good}" for line in range(8))
    (root / f"{good}.py").write_text(f"def price_of_{good}(total):\n{body}\n    return total\n")


def question(number: int) -> str:
    if number % 9 == 7:
        return "And who calls it?"
    if number % 9 == 8:
        return "Shorter, please."
    return f"What is the price of {GOODS[number * 5 % len(GOODS)]}? It is question {number}."


@contextmanager
def kept_in(home: Path) -> Iterator[ConversationStore]:
    store = ConversationStore.open(home / "conversations.db")
    try:
        yield store
    finally:
        store.close()


async def test_prompts_are_made_of_the_last_turns_as_they_would_be_of_all(tmp_path: Path, shop: Path) -> None:
    engine = ScriptedEngine("It is added up in [1]. " + "word " * 60, context_tokens=CONTEXT_TOKENS, slots=1)
    settings = Settings(home=tmp_path / "home", slots=1, source_tokens=300)
    async with AsyncAssistant.open(settings, make_engine=only(engine)) as assistant:
        await assistant.add_project(str(shop))
        with kept_in(settings.home) as store:
            conversation_id = (await assistant.query(QueryRequest(query=question(0)))).conversation_id
            for number in range(1, TURNS):
                if number == TURNS // 2:
                    write_price(shop, GOODS[0], 77)
                asked = QueryRequest(query=question(number), conversation_id=conversation_id, max_tokens=200)
                await assistant.query(asked)
                require_all_said(store, conversation_id, engine.requests[-1])
            require_bounded(store, conversation_id)
            require_lasting_numbers(store.turns(conversation_id))


def require_all_said(store: ConversationStore, conversation_id: str, request: GenerationRequest) -> None:
    """Require that the newest turn's prompt and receipt are those that all turns together make."""
    *past, turn = store.turns(conversation_id)
    summary = store.summary(conversation_id)
    everything = ConversationText(
        request.messages[0].text,
        past,
        summary,
        question=turn.question,
        sources=turn.sources,
        note=turn.note,
    )
    assert request.messages == render_conversation(everything, vocabulary="scripted")
    assert turn.answer is not None
    assert turn.answer.receipt is not None
    told = [each for each in turn.answer.receipt.dropped if each.what.startswith("turn")]
    if summary is None:
        assert told == []
    else:
        assert [each.tokens for each in told] == [sum(map(turn_tokens, past[: summary.last_turn]))]


def require_bounded(store: ConversationStore, conversation_id: str) -> None:
    """Require that the next question holds the last turns alone, though a summary stands for most."""
    kept = kept_conversation(store, conversation_id)
    assert kept.summarised > TURNS // 2
    assert LATEST_TURNS <= len(kept.past) < TURNS // 2
    assert kept.past[-1].number == TURNS


def require_lasting_numbers(turns: list[Turn]) -> None:
    """Require that each number means one source, and each source has one number."""
    sources = [source for turn in turns for source in turn.sources]
    by_number = {source.number: source for source in sources}
    assert all(by_number[source.number] == source for source in sources)
    assert len({(each.chunk.location, each.digest) for each in by_number.values()}) == len(by_number)
    assert sorted(by_number) == list(range(1, len(by_number) + 1))
