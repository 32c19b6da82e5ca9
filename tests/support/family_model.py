"""Models of the real families with random weights: their real vocabularies, tensors of a few values.

What such a model writes is nonsense, but it loads in an instant, its tokens are the family's own, and it ends
its answers with the family's end token: a few words of forty, then one of the last words, then the end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from coding_assistant.inference.gguf import read_vocabulary
from support.gguf_layout import entries, with_entries

_EMBEDDING = 32
_HEADS = 2
_FEED_FORWARD = 64
_CONTEXT = 8_192
# The first value of every token's embedding, and of a last word's also the second. They outlive all that the
# layer adds, and so tell the output, at any temperature, whether to go on or to end.
_STEADY = 40.0
_SPOKEN_WORDS = 40  # as many as llama.cpp lets a token be chosen from, where it is not told otherwise
_LAST_WORDS = 2


@dataclass(frozen=True)
class Family:
    """``architecture`` as llama.cpp names it, ``vocabulary`` as llama.cpp's test file of it is named."""

    architecture: str
    vocabulary: str
    end: str


PHI3 = Family("phi3", "phi-3", "<|end|>")
LLAMA2 = Family("llama", "llama-spm", "</s>")
LLAMA3 = Family("llama", "llama-bpe", "<|eot_id|>")


def write_family_model(file: Path, family: Family, models: Path, *, template: str | None = None) -> Path:
    """Write a model of the family and return its file. ``models`` is llama.cpp's folder of vocabularies."""
    vocabulary = models / f"ggml-vocab-{family.vocabulary}.gguf"
    writer = gguf.GGUFWriter(file, family.architecture)
    writer.add_name(f"Random weights, {family.vocabulary}")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    if template is not None:
        writer.add_chat_template(template)
    _add_tensors(writer, family, read_vocabulary(vocabulary).tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    # Byte by byte: the format's library takes 20 s to read the 400,000 strings of Llama 3.
    taken_over = entries(vocabulary.read_bytes(), "tokenizer.ggml.")
    file.write_bytes(with_entries(file.read_bytes(), taken_over))
    return file


def _add_tensors(writer: gguf.GGUFWriter, family: Family, tokens: Sequence[str]) -> None:
    random = np.random.default_rng(seed=7)

    def add(name: str, *shape: int, scale: float = 0.1) -> None:
        writer.add_tensor(name, random.normal(scale=scale, size=shape).astype(np.float32))

    spoken = [number for number, name in enumerate(tokens) if re.fullmatch("[▁Ġ][a-z]{4,}", name)]
    last = spoken[:_LAST_WORDS]
    embeddings = random.normal(scale=0.1, size=(len(tokens), _EMBEDDING)).astype(np.float32)
    embeddings[:, 0] = _STEADY
    embeddings[last, 1] = _STEADY
    writer.add_tensor("token_embd.weight", embeddings)
    output = np.zeros((len(tokens), _EMBEDDING), dtype=np.float32)
    output[spoken[:_SPOKEN_WORDS], 0] = 2.0
    output[last, 0] = 2.01  # so that no choice among the likeliest leaves them out
    output[tokens.index(family.end), :2] = (-2.0, 20.0)
    writer.add_tensor("output.weight", output)
    for norm in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{norm}.weight", np.ones(_EMBEDDING, dtype=np.float32))
    if family.architecture == "phi3":
        add("blk.0.attn_qkv.weight", 3 * _EMBEDDING, _EMBEDDING)
        add("blk.0.ffn_up.weight", 2 * _FEED_FORWARD, _EMBEDDING)
    else:
        for part in ("attn_q", "attn_k", "attn_v"):
            add(f"blk.0.{part}.weight", _EMBEDDING, _EMBEDDING)
        for part in ("ffn_gate", "ffn_up"):
            add(f"blk.0.{part}.weight", _FEED_FORWARD, _EMBEDDING)
    add("blk.0.attn_output.weight", _EMBEDDING, _EMBEDDING)
    add("blk.0.ffn_down.weight", _EMBEDDING, _FEED_FORWARD, scale=0.01)
