"""BERT models as GGUF files, written by the format's library: real ones, and a tiny one with random weights.

These are what most embedding models are: they read in both directions and say how to make one vector of a
text.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import gguf
import numpy as np
from numpy.typing import NDArray

Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]
"""By the names that they have in the library transformers."""

TINY_DIMENSIONS = 64
TINY_CONTEXT_TOKENS = 96

_CONTROLS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_TINY_WORDS = (
    "what is the between backoff retries retry delay def self mix red green blue paint src py return"
)


@dataclass(frozen=True)
class BertShape:
    dimensions: int
    feed_forward: int
    layers: int
    heads: int
    context_tokens: int
    pooling: gguf.PoolingType = gguf.PoolingType.MEAN


def write_bert(file: Path, shape: BertShape, vocabulary: Iterable[str], tensors: Tensors) -> Path:
    """Write a model; the vocabulary is as in BERT's own ``vocab.txt``, where ``##`` continues a word."""
    writer = gguf.GGUFWriter(file, "bert")
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.dimensions)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(shape.pooling)
    _write_vocabulary(writer, list(vocabulary))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, shape.layers)
    for name, tensor in tensors.items():
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is not None:  # a pooler, which sentence embeddings do not use
            writer.add_tensor(written, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def convert_bert(folder: Path, file: Path) -> Path:
    """Write the BERT model that lies in a folder as the library transformers saves it, in float32."""
    config = json.loads((folder / "config.json").read_text())
    shape = BertShape(
        dimensions=config["hidden_size"],
        feed_forward=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        context_tokens=config["max_position_embeddings"],
    )
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return write_bert(file, shape, vocabulary, _read_safetensors(folder / "model.safetensors"))


def write_tiny_bert(file: Path, *, seed: int = 7, pooling: gguf.PoolingType = gguf.PoolingType.MEAN) -> Path:
    """Write a model of one layer that knows a few words and all letters.

    Its layer changes little, so that texts which share words have vectors that are near.
    """
    letters = "abcdefghijklmnopqrstuvwxyz0123456789()[]=*+/.,:_"
    vocabulary = [*_CONTROLS, *_TINY_WORDS.split(), *letters, *(f"##{letter}" for letter in letters)]
    size, wide = TINY_DIMENSIONS, 2 * TINY_DIMENSIONS
    shape = BertShape(size, wide, layers=1, heads=2, context_tokens=TINY_CONTEXT_TOKENS, pooling=pooling)
    random = np.random.default_rng(seed)

    def weights(*shape: int, scale: float = 0.02) -> NDArray[np.float32]:
        return random.normal(scale=scale, size=shape).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": weights(len(vocabulary), size, scale=1.0),
        "embeddings.position_embeddings.weight": weights(TINY_CONTEXT_TOKENS, size),
        "embeddings.token_type_embeddings.weight": weights(2, size),
        "encoder.layer.0.intermediate.dense.weight": weights(wide, size),
        "encoder.layer.0.intermediate.dense.bias": weights(wide),
        "encoder.layer.0.output.dense.weight": weights(size, wide),
        "encoder.layer.0.output.dense.bias": weights(size),
    }
    attention = "encoder.layer.0.attention"
    for name in ("self.query", "self.key", "self.value", "output.dense"):
        tensors[f"{attention}.{name}.weight"] = weights(size, size)
        tensors[f"{attention}.{name}.bias"] = weights(size)
    for name in ("embeddings", f"{attention}.output", "encoder.layer.0.output"):
        tensors[f"{name}.LayerNorm.weight"] = np.ones(size, np.float32)
        tensors[f"{name}.LayerNorm.bias"] = np.zeros(size, np.float32)
    return write_bert(file, shape, vocabulary, tensors)


def _write_vocabulary(writer: gguf.GGUFWriter, vocabulary: list[str]) -> None:
    controls = set(_CONTROLS)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list([word if word in controls else _as_written(word) for word in vocabulary])
    kinds = gguf.TokenType
    writer.add_token_types([kinds.CONTROL if word in controls else kinds.NORMAL for word in vocabulary])
    writer.add_bos_token_id(vocabulary.index("[CLS]"))
    writer.add_eos_token_id(vocabulary.index("[SEP]"))
    writer.add_sep_token_id(vocabulary.index("[SEP]"))
    writer.add_unk_token_id(vocabulary.index("[UNK]"))
    writer.add_pad_token_id(vocabulary.index("[PAD]"))
    writer.add_mask_token_id(vocabulary.index("[MASK]"))


def _as_written(word: str) -> str:
    """BERT marks what continues a word, llama.cpp what begins one."""
    return word.removeprefix("##") if word.startswith("##") else f"▁{word}"


def _read_safetensors(file: Path) -> Tensors:
    """Read the float32 tensors: a header of JSON behind its length, then the values."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if entry.get("dtype") == "F32":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])
    return found
