"""Files of every kind that is called .gguf, written by the format's own library or by hand."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest

from coding_assistant.errors import InvalidModel
from coding_assistant.inference.gguf import glimpse, read_header
from coding_assistant.inference.model_kinds import ModelKind, foreign_format, require_answers
from support.small_gguf import CONTEXT, write_gguf


def write_keys(path: Path, architecture: str, texts: Mapping[str, str]) -> Path:
    """Write a file with keys and a tensor, but without a language model's vocabulary and shape."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, text in texts.items():
        writer.add_string(key, text)
    writer.add_tensor("blk.0.weight", np.zeros((32, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("architecture", "texts", "kind"),
    [
        ("clip", {}, "vision projector"),
        ("clip", {"general.type": "mmproj"}, "vision projector"),
        ("llama", {"general.type": "adapter", "adapter.type": "lora"}, "LoRA adapter"),
        ("llama", {"adapter.type": "lora"}, "LoRA adapter"),
        ("controlvector", {}, "control vector"),
        ("imatrix", {"general.type": "imatrix"}, "importance matrix"),
        ("flux", {}, "model of another kind"),
    ],
)
def test_files_that_are_no_language_models_are_named_with_what_to_do(
    tmp_path: Path, architecture: str, texts: Mapping[str, str], kind: str
) -> None:
    path = write_keys(tmp_path / "m.gguf", architecture, texts)

    with pytest.raises(InvalidModel, match=f"m.gguf is an? {kind}.*cannot answer questions") as caught:
        read_header(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("architecture", "numbers", "kind"),
    [
        ("llama", {}, ModelKind.CHAT),
        ("nomic-bert", {}, ModelKind.EMBEDDING),
        ("qwen3", {"qwen3.pooling_type": 3}, ModelKind.EMBEDDING),
        ("qwen3", {"qwen3.pooling_type": 4}, ModelKind.RERANKER),
        ("bert", {"bert.pooling_type": 4}, ModelKind.RERANKER),
        ("eagle3", {}, ModelKind.DRAFT),
    ],
)
def test_the_header_and_its_first_keys_tell_the_kind(
    tmp_path: Path, architecture: str, numbers: Mapping[str, int], kind: ModelKind
) -> None:
    path = write_gguf(tmp_path / "m.gguf", architecture=architecture, numbers=numbers)

    assert read_header(path).kind is kind
    seen = glimpse(path)
    assert (seen.kind, seen.architecture, seen.context_length) == (kind, architecture, CONTEXT)
    if kind is not ModelKind.CHAT:
        with pytest.raises(InvalidModel, match="cannot answer") as caught:
            require_answers("m.gguf", kind, architecture, "auto")
        assert ("`embedder`" in caught.value.hint) == (kind is ModelKind.EMBEDDING)


def test_a_model_without_a_template_needs_the_name_of_its_family(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", chat_template=None)

    assert read_header(path).kind is ModelKind.BASE
    with pytest.raises(InvalidModel, match="no chat template") as caught:
        require_answers("m.gguf", ModelKind.BASE, "llama", "auto")
    assert "--prompt-format" in caught.value.hint
    require_answers("m.gguf", ModelKind.BASE, "llama", "llama2")


def test_bytes_of_other_formats_are_known() -> None:
    assert foreign_format(b"GGU") == ""
    assert foreign_format(b"\x93NUMPY\x01") == "a NumPy array"
