"""Language models of some 100 KB with random weights, written here: a vocabulary, a name and a template.

They write nonsense, but the real engine loads them in an instant and tokenises with their vocabularies, so
that families whose weights are gigabytes can be tested to the token.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

CONTEXT_TOKENS = 1_024

# llama.cpp looks for <|endoftext|> in every vocabulary whose model's name says Phi-3.
PHI3_CONTROLS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

_EMBEDDING = 32
_HEADS = 2
_FEED_FORWARD = 64
_WORDS = ("▁what", "▁is", "▁it", "▁the", "▁a", "▁You", "▁are", "hat", "wh", "th", "he", "in", "▁▁", "▁▁▁▁")


@dataclass(frozen=True)
class TinyModel:
    """A SentencePiece vocabulary as Llama 2 and Phi-3 have it, with further control tokens.

    ``user_defined`` are tokens that llama.cpp reads in plain text too.
    """

    name: str
    controls: Sequence[str] = ()
    user_defined: Sequence[str] = ()
    chat_template: str | None = None
    end: str = "</s>"

    def write(self, folder: Path) -> Path:
        """Write the model into the folder and return its file."""
        file = folder / f"{self.name}.gguf"
        writer = gguf.GGUFWriter(file, "llama")
        writer.add_name(self.name)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_context_length(CONTEXT_TOKENS)
        writer.add_embedding_length(_EMBEDDING)
        writer.add_block_count(1)
        writer.add_feed_forward_length(_FEED_FORWARD)
        writer.add_head_count(_HEADS)
        writer.add_head_count_kv(_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
        vocabulary_size = self._write_vocabulary(writer)
        _write_weights(writer, vocabulary_size)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file

    def _write_vocabulary(self, writer: gguf.GGUFWriter) -> int:
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
        return len(names)


def _write_weights(writer: gguf.GGUFWriter, vocabulary_size: int) -> None:
    random = np.random.default_rng(seed=7)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(scale=0.1, size=shape).astype(np.float32))

    add("token_embd.weight", vocabulary_size, _EMBEDDING)
    add("output_norm.weight", _EMBEDDING)
    add("output.weight", vocabulary_size, _EMBEDDING)
    add("blk.0.attn_norm.weight", _EMBEDDING)
    add("blk.0.ffn_norm.weight", _EMBEDDING)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"blk.0.{part}.weight", _EMBEDDING, _EMBEDDING)
    for part in ("ffn_gate", "ffn_up"):
        add(f"blk.0.{part}.weight", _FEED_FORWARD, _EMBEDDING)
    add("blk.0.ffn_down.weight", _EMBEDDING, _FEED_FORWARD)
