"""Two real models in one process: a switch there and back, counted by the engines themselves."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.contract import QueryRequest, QueryResponse, ReceiptView
from coding_assistant.settings import Settings
from support.shop import write_shop
from support.tiny_model import TinyModel

pytestmark = pytest.mark.anyio

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SLACK_TOKENS = 4
"""The place of an answer that had no words, which the next prompt leaves out."""

CONTROLS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
MODEL = TinyModel("first", controls=CONTROLS, chat_template=TEMPLATE, context_tokens=8_192)


def receipt(response: QueryResponse) -> ReceiptView:
    assert response.receipt is not None
    return response.receipt


def child_processes() -> set[int]:
    return {each.pid for each in psutil.Process().children(recursive=True)}


async def test_a_switch_there_and_back_reads_only_what_is_new(tmp_path: Path) -> None:
    first = str(MODEL.write(tmp_path))
    second = str(replace(MODEL, name="second", controls=(*CONTROLS, "<|other|>")).write(tmp_path))
    settings = Settings(home=tmp_path / "home", model_name=first, source_tokens=200, context_tokens=8_192)
    async with AsyncAssistant.open(settings) as assistant:
        await assistant.add_project(str(write_shop(tmp_path)))

        async def ask(query: str, model: str, conversation_id: str | None = None) -> QueryResponse:
            request = QueryRequest(
                query=query, model=model, conversation_id=conversation_id, max_tokens=8, temperature=0
            )
            return await assistant.query(request)

        begun = await ask("When does a session end?", first)
        there = await ask("and why is that?", second, begun.conversation_id)
        loaded = {each.name for each in await assistant.models() if each.loaded}
        before = child_processes()
        await assistant.unload_model(first)
        gone = before - child_processes()
        back = await ask("and the price?", first, begun.conversation_id)
        again = await ask("and then?", second, begun.conversation_id)

    assert loaded == {"first", "second"}
    assert gone
    assert receipt(there).cached == 0
    assert receipt(there).cold == "second has not read this conversation yet."
    # Restored from its snapshot by a process that was started anew. An answer of no words is not read again.
    assert receipt(back).cached >= receipt(begun).used - SLACK_TOKENS
    # Still in its slot.
    assert receipt(again).cached >= receipt(there).used - SLACK_TOKENS
    assert [receipt(each).cold for each in (begun, back, again)] == ["", "", ""]
