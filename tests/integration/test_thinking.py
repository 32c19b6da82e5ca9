"""Models that think, through the real server: small ones that write what they are told to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.domain import (
    Finish,
    GenerationEnded,
    GenerationRequest,
    Message,
    ReasoningPiece,
    Role,
    TextPiece,
)
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.gguf import read_vocabulary
from coding_assistant.inference.llama import LlamaEngine
from support.llama_engines import llama_engine
from support.tiny_model import TinyModel

pytestmark = pytest.mark.anyio

# As Qwen3's: the thoughts of the past are left out, and the switch writes empty ones.
TEMPLATE = (
    "{% for m in messages %}{{ '<turn>' + m['role'] + m['content'].split('</think>')[-1] + '</turn>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<turn>assistant' + '<answer>' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>' + '</think>' }}{% endif %}"
    "{% endif %}"
)
OPENING_TEMPLATE = TEMPLATE.replace("'<answer>' }}", "'<answer>' + '<think>' }}")
CONTROLS = ("<turn>", "</turn>", "<answer>")
MARKS = ("<think>", "</think>")
THOUGHT = ("▁what", "▁is")
SAID = ("▁it", "▁the")
WRITES = ("<answer>", "<think>", *THOUGHT, "</think>", *SAID, "</turn>")

QUESTION = Message(Role.USER, "hat?")


THINKER = TinyModel("Thinker", CONTROLS, MARKS, TEMPLATE, end="</turn>", says=WRITES)


@asynccontextmanager
async def engine_of(model: TinyModel, folder: Path, *, thinking: str = "auto") -> AsyncIterator[LlamaEngine]:
    engine = llama_engine(model.write(folder), thinking=thinking)
    try:
        yield engine
    finally:
        await engine.close()


async def answer(
    engine: LlamaEngine, *messages: Message, max_tokens: int = 32
) -> tuple[str, Message, GenerationEnded]:
    """Return the thoughts, the answer with its tokens, and the end."""
    tokens = await engine.encode(messages)
    request = GenerationRequest(tokens, slot=0, max_tokens=max_tokens, temperature=0.0, top_p=1.0)
    thought, said = "", ""
    written: tuple[int, ...] = ()
    ended = None
    async for event in engine.generate(request):
        match event:
            case ReasoningPiece(text=text):
                thought += text
            case TextPiece(text=text, tokens=piece_tokens):
                said += text
                written += piece_tokens
            case GenerationEnded():
                ended = event
    assert ended is not None
    return thought, Message(Role.ASSISTANT, said, written), ended


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(THINKER, id="the model opens its thoughts"),
        pytest.param(
            replace(THINKER, controls=(*CONTROLS, *MARKS), user_defined=()),
            id="with marks that are control tokens",
        ),
        pytest.param(
            replace(
                THINKER,
                chat_template=OPENING_TEMPLATE,
                says=("<think>", *WRITES[2:]),
                name="Opened",
            ),
            id="the prompt opens them",
        ),
    ],
)
async def test_thoughts_come_apart_from_the_answer(model: TinyModel, tmp_path: Path) -> None:
    async with engine_of(model, tmp_path) as engine:
        thought, said, ended = await answer(engine, QUESTION)

        assert (thought.strip(), said.text.strip()) == ("what is", "it the")
        assert ended.finish is Finish.COMPLETE
        assert len(said.tokens) == len(SAID)
        vocabulary = read_vocabulary(tmp_path / f"{model.name}.gguf").tokens
        names = [vocabulary[token] for token in await engine.encode([QUESTION, said, QUESTION])]
        past = names[: names.index(SAID[0]) + len(SAID)]
        assert past[-len(SAID) :] == list(SAID)
        assert not {*MARKS, *THOUGHT} & set(past)
        again = await answer(engine, QUESTION, said, QUESTION)
        assert again[1].text == said.text
        assert again[2].cached_tokens > 0


async def test_thoughts_count_towards_the_reply(tmp_path: Path) -> None:
    async with engine_of(THINKER, tmp_path) as engine:
        thought, said, ended = await answer(engine, QUESTION, max_tokens=3)

    assert (thought.strip(), said.text, ended.finish) == ("what is", "", Finish.LENGTH)
    assert ended.written_tokens == 3


async def test_the_switch_of_the_template_keeps_it_from_thinking(tmp_path: Path) -> None:
    model = replace(THINKER, says=("</think>", *SAID, "</turn>"))
    async with engine_of(model, tmp_path, thinking="off") as engine:
        thought, said, _ = await answer(engine, QUESTION)

    assert (thought, said.text.strip()) == ("", "it the")


async def test_a_switch_that_the_template_lacks_is_refused_before_loading(tmp_path: Path) -> None:
    plain = TEMPLATE.partition("{% if enable_thinking")[0] + "{% endif %}"
    async with engine_of(replace(THINKER, chat_template=plain), tmp_path, thinking="off") as engine:
        with pytest.raises(InvalidModel, match="no switch for thinking"):
            await engine.load()
        assert engine.process_id is None


async def test_channels_are_refused_before_loading(tmp_path: Path) -> None:
    model = replace(THINKER, controls=(*CONTROLS, "<|channel|>", "<|message|>"))
    async with engine_of(model, tmp_path) as engine:
        with pytest.raises(InvalidModel, match="channels"):
            await engine.load()


async def test_a_split_model_answers_as_the_whole_one(tmp_path: Path) -> None:
    async with engine_of(replace(THINKER, tensors_in_part=5), tmp_path) as engine:
        thought, said, _ = await answer(engine, QUESTION)

    assert (thought.strip(), said.text.strip()) == ("what is", "it the")
