"""Embedding models in the engine's own process: what every embedder promises, and how the process lives."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest

from coding_assistant.chat.project_code import EMBEDDING_MODEL, ProjectCode
from coding_assistant.domain import Indexed, Indexing, ModelLoading
from coding_assistant.errors import (
    EngineDied,
    EngineUnavailable,
    InvalidModel,
    ModelBroken,
    ModelMissing,
)
from coding_assistant.inference.gguf_embedder import NICENESS, GgufEmbedder
from coding_assistant.inference.llama import MOST_DEATHS
from coding_assistant.protocols import Embedder
from support import native_stand_in
from support.bert_gguf import TINY_CONTEXT_TOKENS, write_tiny_bert
from support.embedder_contract import EmbedderContract
from support.small_gguf import write_gguf


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    return write_tiny_bert(tmp_path / "tiny.gguf")


@pytest.fixture
def tiny(tiny_file: Path) -> Iterator[GgufEmbedder]:
    embedder = GgufEmbedder(tiny_file, threads=1)
    yield embedder
    embedder.close()


def engine_processes() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if any("llama_server" in argument for argument in child.cmdline())
    ]


async def _told(root: Path, embedder: GgufEmbedder) -> list[Indexing | ModelLoading]:
    """Return what somebody is told while a search gets ready."""
    told: list[Indexing | ModelLoading] = []
    code = ProjectCode(root, root.with_suffix(".sqlite"), embedder=embedder)
    try:
        await code.refresh(told.append)
    finally:
        await code.close()
    return told


@pytest.mark.anyio
async def test_whoever_waits_for_the_model_is_told(tmp_path: Path, tiny_file: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "a.py").write_text("def parse(text):\n    return text\n")
    with closing(GgufEmbedder(tiny_file, threads=1)) as embedder:
        told = await _told(root, embedder)
        vectors = Indexed.VECTORS
        assert told[-2:] == [Indexing(0, 1, what=vectors), Indexing(1, 1, what=vectors)]
        assert ModelLoading(EMBEDDING_MODEL) not in await _told(root, embedder)
    with closing(GgufEmbedder(tiny_file, threads=1)) as embedder:  # now for the question alone
        assert (await _told(root, embedder))[-1] == ModelLoading(EMBEDDING_MODEL)


class TestTinyBert(EmbedderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
        made = GgufEmbedder(write_tiny_bert(tmp_path_factory.mktemp("bert") / "tiny.gguf"), threads=1)
        yield made
        made.close()


@pytest.mark.model
def test_a_model_that_says_nothing_of_vectors_gives_the_mean_of_its_tokens(smollm2: Path) -> None:
    embedder = GgufEmbedder(smollm2, threads=1)
    addition = "def add(first, second):\n    return first + second"
    try:
        likeness = embedder.embed_documents(
            [
                addition,
                "def add(one, other):\n    return one + other",
                "The weather will be fine until Sunday.",
            ]
        ) @ embedder.embed_query(addition)
    finally:
        embedder.close()

    assert likeness[0] == pytest.approx(1, abs=1e-3)
    assert likeness[1] > likeness[2]


def test_one_process_works_behind_all_others_and_ends_with_its_embedder(tiny_file: Path) -> None:
    embedder = GgufEmbedder(tiny_file, threads=1)
    assert not engine_processes()

    embedder.embed_documents(["retry", "delay"])
    (process,) = engine_processes()
    assert process.nice() == min(19, psutil.Process().nice() + NICENESS)

    embedder.close()
    assert not process.is_running()
    with pytest.raises(EngineUnavailable):
        embedder.embed_query("retry")
    embedder.close()


def test_blank_texts_need_no_model(tiny: GgufEmbedder) -> None:
    assert not tiny.embed_documents(["", " \n"]).any()
    assert not engine_processes()


def test_a_text_counts_up_to_the_models_context_and_no_further(tiny: GgufEmbedder) -> None:
    beginning = "retry delay " * (TINY_CONTEXT_TOKENS // 2)
    other_endings = tiny.embed_documents([beginning + "red green blue", beginning + "paint", "paint"])

    np.testing.assert_allclose(other_endings[0], other_endings[1], atol=1e-6)
    assert other_endings[0] @ other_endings[2] < 0.9


def test_a_process_that_was_killed_is_told_of_or_replaced(tiny: GgufEmbedder) -> None:
    before = tiny.embed_query("retry the delay")
    (process,) = engine_processes()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    try:
        after = tiny.embed_query("retry the delay")
    except EngineDied:  # the event loop had not seen its end
        after = tiny.embed_query("retry the delay")

    np.testing.assert_array_equal(before, after)
    assert [process.pid] != [each.pid for each in engine_processes()]


def test_a_hopeless_process_is_not_started_for_ever(
    tiny: GgufEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native_stand_in.put_in_place(native_stand_in.OUT_OF_MEMORY_KILL, tmp_path, monkeypatch)
    for _ in range(MOST_DEATHS):
        with pytest.raises(EngineDied):
            tiny.embed_query("retry")

    with pytest.raises(EngineUnavailable, match="died"):
        tiny.embed_query("retry")


def test_the_fingerprint_is_the_weights_and_not_their_place(tmp_path: Path) -> None:
    first = write_tiny_bert(tmp_path / "first.gguf", seed=1)
    same = write_tiny_bert(tmp_path / "same.gguf", seed=1)
    other = write_tiny_bert(tmp_path / "other.gguf", seed=2)
    fingerprint = GgufEmbedder(first, threads=1).fingerprint

    assert GgufEmbedder(same, threads=1).fingerprint == fingerprint
    assert GgufEmbedder(other, threads=1).fingerprint != fingerprint
    assert GgufEmbedder(first, threads=1, most_tokens=64).fingerprint != fingerprint


def test_files_that_are_no_embedding_model_are_refused_at_once(tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("Vectors.")
    ranking = write_tiny_bert(tmp_path / "ranking.gguf", pooling=gguf.PoolingType.RANK)
    part = write_gguf(tmp_path / "part.gguf", numbers={"split.no": 1, "split.count": 2})

    with pytest.raises(ModelMissing):
        GgufEmbedder(tmp_path / "absent.gguf", threads=1)
    with pytest.raises(ModelBroken):
        GgufEmbedder(text, threads=1)
    for refused in (ranking, part):
        with pytest.raises(InvalidModel):
            GgufEmbedder(refused, threads=1)
