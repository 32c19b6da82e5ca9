"""GGUF files of a few kilobytes, written by the format's own library."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

TOKENS = ["<unk>", "<s>", "</s>", "<|end|>", "<tool>", "def", "größe"]
TOKEN_TYPES = [2, 3, 3, 3, 4, 1, 1]

LAYERS = 2
HEADS = 4
KV_HEADS = 2
EMBEDDING = 64
CONTEXT = 2_048


def write_gguf(  # noqa: PLR0913  -- a test names the one or two that it is about
    path: Path,
    *,
    architecture: str = "llama",
    leave_out: Sequence[str] = (),
    numbers: Mapping[str, int] | None = None,
    texts: Mapping[str, str] | None = None,
    kv_heads: int | list[int] = KV_HEADS,
    chat_template: str | None = "{{ messages }}",
) -> Path:
    """Write a language model without sense: an f32 tensor of 32 by 64, a Q8_0 tensor of 64 by 64.

    ``numbers`` and ``texts`` add keys; a key of ``leave_out``, without its architecture, is not written.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("A small model")
    writer.add_file_type(7)
    shape = {
        "context_length": CONTEXT,
        "block_count": LAYERS,
        "embedding_length": EMBEDDING,
        "attention.head_count": HEADS,
    }
    for key, number in shape.items():
        if key not in leave_out:
            writer.add_uint32(f"{architecture}.{key}", number)
    writer.add_head_count_kv(kv_heads)
    for key, number in (numbers or {}).items():
        writer.add_uint32(key, number)
    for key, text in (texts or {}).items():
        writer.add_string(key, text)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_types(TOKEN_TYPES)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    writer.add_tensor("token_embd.weight", np.zeros((32, 64), dtype=np.float32))
    quantised = np.zeros((64, 2 * 34), dtype=np.uint8)
    writer.add_tensor("output.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
