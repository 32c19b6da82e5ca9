"""Models of real shapes with random weights, to measure memory and speed without the real ones.

What a model takes and how fast it runs depends on its shape and its tensors' types, not on what it has
learnt. The tensors are quantised as llama.cpp's Q4_K_M mixes them, the vocabulary is the family's own, taken
from a GGUF file that holds it; what such a model writes is nonsense.

    python bench/engine_bench/synthetic.py phi3-mini OUT.gguf --llama-cpp FOLDER

``FOLDER`` is llama.cpp's source, as the source distribution llama-cpp-python 0.3.36 carries it: of it the
files ``models/ggml-vocab-*.gguf`` and ``models/templates/*.jinja`` are read.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt

Type = gguf.GGMLQuantizationType

SEED: Final = 20_240_423
_PATTERN_BLOCKS: Final = 65_521  # of random data, repeated: a prime, so that rows differ
_WEIGHT_DEVIATION: Final = 0.02


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model is like: sizes as its publisher's configuration gives them."""

    name: str
    architecture: str
    vocabulary: str
    template: str
    layers: int
    embedding: int
    heads: int
    kv_heads: int
    feed_forward: int
    context: int
    rope_base: float
    short_context: int | None = None

    @property
    def head_size(self) -> int:
        """Values of one head of attention."""
        return self.embedding // self.heads

    @property
    def is_fused(self) -> bool:
        """Whether query, key and value are one tensor, and gate and up another, as Phi-3 has them."""
        return self.architecture == "phi3"


SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape(
            "phi3-mini", "phi3", "phi-3", "",
            layers=32, embedding=3_072, heads=32, kv_heads=32, feed_forward=8_192,
            context=131_072, rope_base=10_000.0, short_context=4_096,
        ),
        Shape(
            "codellama-7b", "llama", "llama-spm", "",
            layers=32, embedding=4_096, heads=32, kv_heads=32, feed_forward=11_008,
            context=16_384, rope_base=1_000_000.0,
        ),
        Shape(
            "llama3.1-8b", "llama", "llama-bpe", "meta-llama-Llama-3.1-8B-Instruct.jinja",
            layers=32, embedding=4_096, heads=32, kv_heads=8, feed_forward=14_336,
            context=131_072, rope_base=500_000.0,
        ),
    )
}  # fmt: skip
"""The catalog's large models. An empty template: the vocabulary's file brings one, or there is none."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written: rows of so many values."""

    name: str
    kind: Type
    rows: int
    columns: int


def small(shape: Shape, *, layers: int = 2) -> Shape:
    """Return the shape made small for tests: some megabytes, nearly all of them vocabulary."""
    kv_heads = max(1, 4 * shape.kv_heads // shape.heads)
    return replace(shape, layers=layers, embedding=256, heads=4, kv_heads=kv_heads, feed_forward=512)


def write_model(file: Path, shape: Shape, *, vocabulary: Path, template: str | None = None) -> Path:
    """Write a model of the shape with random weights, the same ones each time.

    ``vocabulary`` is a GGUF file, with or without weights, whose tokens, their types and special tokens are
    taken over; ``template`` replaces its chat template.
    """
    writer = gguf.GGUFWriter(file, shape.architecture)
    writer.add_name(f"Random weights in the shape of {shape.name}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    _add_shape(writer, shape)
    tokens = _copy_vocabulary(writer, vocabulary, with_template=template is None)
    if template is not None:
        writer.add_chat_template(template)
    tensors = list(_tensors(shape, tokens))
    for tensor in tensors:
        data = (tensor.rows, _row_bytes(tensor)) if tensor.rows > 1 else (_row_bytes(tensor),)
        writer.add_tensor_info(
            tensor.name, data, np.dtype(np.uint8), tensor.rows * _row_bytes(tensor), raw_dtype=tensor.kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    weights = _Weights()
    for tensor in tensors:
        writer.write_tensor_data(weights.of(tensor))
    writer.close()
    return file


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.rope_base)
    if shape.short_context:
        writer.add_rope_scaling_orig_ctx_len(shape.short_context)
        writer.add_rope_scaling_attn_factors(1.19)


def _copy_vocabulary(writer: gguf.GGUFWriter, file: Path, *, with_template: bool) -> int:
    """Take the tokenizer's keys over and return the number of tokens."""
    fields = gguf.GGUFReader(file).fields
    for key, field in fields.items():
        if not key.startswith("tokenizer.") or (key == "tokenizer.chat_template" and not with_template):
            continue
        element = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], element)
    return len(fields["tokenizer.ggml.tokens"].data)


def _tensors(shape: Shape, tokens: int) -> Iterator[Tensor]:
    """Yield the tensors as Q4_K_M has them: in 6 bits the output, and half of the values and ways down."""
    width, key_values = shape.embedding, shape.kv_heads * shape.head_size
    yield Tensor("token_embd.weight", Type.Q4_K, tokens, width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        finer = Type.Q6_K if _deserves_more_bits(layer, shape.layers) else Type.Q4_K
        yield Tensor(f"{block}.attn_norm.weight", Type.F32, 1, width)
        if shape.is_fused:
            yield Tensor(f"{block}.attn_qkv.weight", Type.Q5_K, width + 2 * key_values, width)
            yield Tensor(f"{block}.ffn_up.weight", Type.Q4_K, 2 * shape.feed_forward, width)
        else:
            yield Tensor(f"{block}.attn_q.weight", Type.Q4_K, width, width)
            yield Tensor(f"{block}.attn_k.weight", Type.Q4_K, key_values, width)
            yield Tensor(f"{block}.attn_v.weight", finer, key_values, width)
            yield Tensor(f"{block}.ffn_gate.weight", Type.Q4_K, shape.feed_forward, width)
            yield Tensor(f"{block}.ffn_up.weight", Type.Q4_K, shape.feed_forward, width)
        yield Tensor(f"{block}.attn_output.weight", Type.Q4_K, width, width)
        yield Tensor(f"{block}.ffn_norm.weight", Type.F32, 1, width)
        yield Tensor(f"{block}.ffn_down.weight", finer, width, shape.feed_forward)
    yield Tensor("output_norm.weight", Type.F32, 1, width)
    yield Tensor("output.weight", Type.Q6_K, tokens, width)
    if shape.short_context:
        yield Tensor("rope_factors_long.weight", Type.F32, 1, shape.head_size // 2)
        yield Tensor("rope_factors_short.weight", Type.F32, 1, shape.head_size // 2)


def _deserves_more_bits(layer: int, layers: int) -> bool:
    """Return whether Q4_K_M quantises the layer's most sensitive tensors in 6 bits: half of the layers."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2  # noqa: PLR2004  -- "third"


class _Weights:
    """Random tensors, cut out of a repeated pattern of random blocks: 5 GB are made at the disk's speed."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        self._patterns = {
            Type.Q4_K: self._five_bit_or_less(Type.Q4_K, quants=15),
            Type.Q5_K: self._five_bit_or_less(Type.Q5_K, quants=31),
            Type.Q6_K: self._six_bit(),
        }

    def of(self, tensor: Tensor) -> npt.NDArray[np.uint8]:
        """Return the tensor's bytes. A norm is 1; so are rope's factors, and "long" ones grow."""
        if tensor.kind is Type.F32:
            values = np.ones(tensor.columns, dtype=np.float32)
            if tensor.name.startswith("rope_factors_long"):
                values = np.linspace(1.0, 32.0, tensor.columns, dtype=np.float32)
            return values.view(np.uint8)
        return np.resize(self._patterns[tensor.kind], (tensor.rows, _row_bytes(tensor)))

    def _five_bit_or_less(self, kind: Type, *, quants: int) -> npt.NDArray[np.uint8]:
        """Return blocks of value = d * scale * quant - dmin * minimum, the two scales in 6 bits each.

        The minimum takes the mean of the first term away, so that weights are positive and negative alike.
        """
        blocks = self._bytes(kind)
        step = _WEIGHT_DEVIATION / (_MEAN_SCALE * quants / 12**0.5)
        blocks[:, 0:2] = _half(step)
        blocks[:, 2:4] = _half(step * quants / 2)
        return blocks

    def _six_bit(self) -> npt.NDArray[np.uint8]:
        """Return blocks of value = d * scale * (quant - 32), 16 signed scales before the last two bytes."""
        blocks = self._bytes(Type.Q6_K)
        scales = self._random.integers(16, 48, size=(_PATTERN_BLOCKS, 16), dtype=np.uint8)
        blocks[:, -18:-2] = scales
        blocks[:, -2:] = _half(_WEIGHT_DEVIATION / (_MEAN_SCALE * 64 / 12**0.5))
        return blocks

    def _bytes(self, kind: Type) -> npt.NDArray[np.uint8]:
        size = gguf.GGML_QUANT_SIZES[kind][1]
        return self._random.integers(0, 256, size=(_PATTERN_BLOCKS, size), dtype=np.uint8)


_MEAN_SCALE: Final = 31.5  # of six bits


def _half(value: float) -> npt.NDArray[np.uint8]:
    return np.array([value], dtype=np.float16).view(np.uint8)


def _row_bytes(tensor: Tensor) -> int:
    values, size = gguf.GGML_QUANT_SIZES[tensor.kind]
    return tensor.columns // values * size


def main() -> None:
    """Write the model that the command line names."""
    parser = argparse.ArgumentParser(description="Write a model of a real shape with random weights.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("file", type=Path)
    parser.add_argument("--llama-cpp", type=Path, required=True, metavar="FOLDER")
    given = parser.parse_args()
    shape = SHAPES[given.shape]
    models = given.llama_cpp / "models"
    template = None
    if shape.template:
        template = (models / "templates" / shape.template).read_text(encoding="utf-8")
    file = write_model(
        given.file, shape, vocabulary=models / f"ggml-vocab-{shape.vocabulary}.gguf", template=template
    )
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
