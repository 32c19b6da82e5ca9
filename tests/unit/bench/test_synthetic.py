from math import isfinite
from pathlib import Path

import gguf
import numpy as np
import pytest

from coding_assistant.inference.gguf import read_header, read_vocabulary
from engine_bench.synthetic import SHAPES, small, write_model
from support.tiny_model import PHI3_CONTROLS, TinyModel


@pytest.fixture(name="vocabulary", scope="module")
def vocabulary_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = TinyModel("words", controls=PHI3_CONTROLS, chat_template="{{ messages }}")
    return model.write(tmp_path_factory.mktemp("vocabulary"))


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_has_the_shape_and_the_vocabulary_that_it_was_given(
    name: str, vocabulary: Path, tmp_path: Path
) -> None:
    shape = small(SHAPES[name])
    file = write_model(tmp_path / "m.gguf", shape, vocabulary=vocabulary)
    header = read_header(file)

    assert (header.architecture, header.layers, header.embedding_length) == (shape.architecture, 2, 256)
    assert header.kv_heads / header.heads == SHAPES[name].kv_heads / SHAPES[name].heads
    assert header.quantisation == "Q4_K_M"
    assert header.short_context_length == shape.short_context
    assert header.chat_template == "{{ messages }}"
    assert read_vocabulary(file) == read_vocabulary(vocabulary)


def test_another_template_replaces_the_vocabularys(vocabulary: Path, tmp_path: Path) -> None:
    shape = small(SHAPES["llama3.1-8b"])
    file = write_model(tmp_path / "m.gguf", shape, vocabulary=vocabulary, template="mine")

    assert read_header(file).chat_template == "mine"


@pytest.mark.parametrize("name", ["phi3-mini", "llama3.1-8b"])
def test_weights_are_numbers_of_the_usual_size_around_zero(
    name: str, vocabulary: Path, tmp_path: Path
) -> None:
    file = write_model(tmp_path / "m.gguf", small(SHAPES[name]), vocabulary=vocabulary)
    kinds = set()
    for tensor in gguf.GGUFReader(file).tensors:
        if tensor.tensor_type is gguf.GGMLQuantizationType.F32:
            continue
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        kinds.add(tensor.tensor_type.name)
        assert isfinite(float(np.abs(values).max()))
        assert abs(float(values.mean())) < 0.005
        assert 0.01 < float(values.std()) < 0.04

    assert {"Q4_K", "Q6_K"} <= kinds
