"""Language models of some 100 KB with random weights, written here: a vocabulary, a name and a template.

They write nonsense, but the real engine loads them in an instant and tokenises with their vocabularies, so
that families whose weights are gigabytes can be tested to the token.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

CONTEXT_TOKENS = 1_024

# llama.cpp looks for <|endoftext|> in every vocabulary whose model's name says Phi-3.
PHI3_CONTROLS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

_EMBEDDING = 32
_SAYING_EMBEDDING = 512  # a dimension for each token, so that each can be followed by one of its own
_HEADS = 2
_FEED_FORWARD = 64
_WORDS = ("▁what", "▁is", "▁it", "▁the", "▁a", "▁You", "▁are", "hat", "wh", "th", "he", "in", "▁▁", "▁▁▁▁")


@dataclass(frozen=True)
class TinyModel:
    """A SentencePiece vocabulary as Llama 2 and Phi-3 have it, with further control tokens.

    ``user_defined`` are tokens that llama.cpp reads in plain text too. ``says`` is what the model writes
    behind a prompt that ends with the first of these tokens; without it, it writes nonsense. With
    ``tensors_in_part`` it is split.
    """

    name: str
    controls: Sequence[str] = ()
    user_defined: Sequence[str] = ()
    chat_template: str | None = None
    end: str = "</s>"
    says: Sequence[str] = ()
    tensors_in_part: int = 0
    context_tokens: int = CONTEXT_TOKENS

    def write(self, folder: Path) -> Path:
        """Write the model into the folder and return its file: of a split one, the first part."""
        width = _SAYING_EMBEDDING if self.says else _EMBEDDING
        file = folder / f"{self.name}.gguf"
        writer = gguf.GGUFWriter(file, "llama", split_max_tensors=self.tensors_in_part)
        writer.add_name(self.name)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_context_length(self.context_tokens)
        writer.add_embedding_length(width)
        writer.add_block_count(1)
        writer.add_feed_forward_length(_FEED_FORWARD)
        writer.add_head_count(_HEADS)
        writer.add_head_count_kv(_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(width // _HEADS)
        names = self._write_vocabulary(writer)
        _write_weights(writer, _matrices(names, self.says, width), width)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return next(folder.glob(f"{self.name}-00001-of-*.gguf")) if self.tensors_in_part else file

    def _write_vocabulary(self, writer: gguf.GGUFWriter) -> list[str]:
        kinds = gguf.TokenType
        entries = [("<unk>", 0.0, kinds.UNKNOWN), ("<s>", 0.0, kinds.CONTROL), ("</s>", 0.0, kinds.CONTROL)]
        entries += [(f"<0x{byte:02X}>", 0.0, kinds.BYTE) for byte in range(256)]
        entries += [(word, -float(rank), kinds.NORMAL) for rank, word in enumerate(_WORDS)]
        letters = "▁" + string.ascii_letters + string.digits + string.punctuation
        entries += [(letter, -1_000.0 - rank, kinds.NORMAL) for rank, letter in enumerate(letters)]
        entries += [(name, 0.0, kinds.CONTROL) for name in self.controls]
        entries += [(name, 0.0, kinds.USER_DEFINED) for name in self.user_defined]
        names = [name for name, _, _ in entries]
        writer.add_tokenizer_model("llama")
        writer.add_token_list(names)
        writer.add_token_scores([score for _, score, _ in entries])
        writer.add_token_types([kind for _, _, kind in entries])
        writer.add_bos_token_id(names.index("<s>"))
        writer.add_eos_token_id(names.index(self.end))
        writer.add_add_bos_token(True)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)
        return names


@dataclass(frozen=True)
class _Matrices:
    """What tokens are on their way in and on their way out, and whether layers change them in between."""

    embedding: NDArray[np.float32]
    output: NDArray[np.float32]
    layers_scale: float


def _matrices(names: Sequence[str], says: Sequence[str], width: int) -> _Matrices:
    if not says:
        random = np.random.default_rng(seed=7)
        embedding, output = random.normal(scale=0.1, size=(2, len(names), width)).astype(np.float32)
        return _Matrices(embedding, output, 0.1)
    embedding, output = np.eye(len(names), width, dtype=np.float32), np.zeros((len(names), width), np.float32)
    for token, next_token in pairwise(map(names.index, says)):
        output[next_token, token] = 1.0
    return _Matrices(embedding, output, 0.0)


def _write_weights(writer: gguf.GGUFWriter, matrices: _Matrices, width: int) -> None:
    random = np.random.default_rng(seed=7)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(scale=matrices.layers_scale, size=shape).astype(np.float32))

    writer.add_tensor("token_embd.weight", matrices.embedding)
    writer.add_tensor("output_norm.weight", np.ones(width, dtype=np.float32))
    writer.add_tensor("output.weight", matrices.output)
    add("blk.0.attn_norm.weight", width)
    add("blk.0.ffn_norm.weight", width)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"blk.0.{part}.weight", width, width)
    for part in ("ffn_gate", "ffn_up"):
        add(f"blk.0.{part}.weight", _FEED_FORWARD, width)
    add("blk.0.ffn_down.weight", width, _FEED_FORWARD)
