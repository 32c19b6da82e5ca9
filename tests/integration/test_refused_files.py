"""Files that cannot answer, as the engine refuses them: before anything is loaded, and with what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from coding_assistant.errors import InvalidModel
from support.llama_engines import llama_engine
from support.small_gguf import write_gguf
from support.tiny_model import TinyModel

pytestmark = pytest.mark.anyio

REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "base model": (lambda folder: TinyModel("Bare").write(folder), "no chat template"),
    "embedding model": (lambda folder: write_gguf(folder / "m.gguf", architecture="bert"), "embedding model"),
    "reranker": (
        lambda folder: write_gguf(folder / "m.gguf", architecture="qwen3", numbers={"qwen3.pooling_type": 4}),
        "reranker",
    ),
    "projector": (lambda folder: write_gguf(folder / "m.gguf", architecture="clip"), "vision projector"),
    "adapter": (
        lambda folder: write_gguf(folder / "m.gguf", texts={"general.type": "adapter"}),
        "LoRA adapter",
    ),
    "template with Python in it": (
        lambda folder: TinyModel(
            "Tricky", chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}"
        ).write(folder),
        "chat template",
    ),
    "template that refuses": (
        lambda folder: TinyModel("Refusing", chat_template="{{ raise_exception('no') }}").write(folder),
        "chat template",
    ),
    "template that is none": (
        lambda folder: TinyModel("Cut", chat_template="{% for m in messages %}").write(folder),
        "chat template",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_file_that_cannot_answer_starts_no_process(kind: str, tmp_path: Path) -> None:
    write, complaint = REFUSED[kind]
    engine = llama_engine(write(tmp_path))

    with pytest.raises(InvalidModel, match=complaint) as refused:
        await engine.load()

    assert refused.value.hint
    assert engine.process_id is None


async def test_an_architecture_is_refused_in_the_engines_own_words(tmp_path: Path) -> None:
    engine = llama_engine(write_gguf(tmp_path / "m.gguf", architecture="next"), prompt_format="chatml")

    with pytest.raises(InvalidModel, match="unknown model architecture: 'next'") as refused:
        await engine.load()

    assert "another model" in refused.value.hint
    assert engine.process_id is None
