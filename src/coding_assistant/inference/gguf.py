"""What a GGUF file says about itself, read without trusting it.

Of a split model any part stands for the whole. No tensor is read, and no chat template is run; it knows
nothing of models by name. How a header is read safely is ``gguf_reader``'s affair.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from coding_assistant.errors import InvalidModel, ModelBroken, ModelMissing
from coding_assistant.inference.cache_shape import Attention, CacheShape, cache_shape
from coding_assistant.inference.ggml_types import FILE_TYPES, TENSOR_TYPES
from coding_assistant.inference.gguf_reader import (
    STRING,
    U32,
    U64,
    GgufArray,
    GgufReader,
    opened,
    read_beginning,
    read_metadata,
)
from coding_assistant.inference.model_kinds import KindFacts, ModelKind, cannot_answer, kind_of

_MAX_TOKENS: Final = 2_097_152
_MAX_DIMENSIONS: Final = 4
_MAX_LAYERS: Final = 4_096
_MAX_HEADS: Final = 65_536
_MAX_COUNT: Final = 2**31
_MAX_PARTS: Final = 1_024  # the largest models in use have some 60
_DEFAULT_ALIGNMENT: Final = 32
_INPUT: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"

_NORMAL_TOKEN: Final = 1
_NO_LANGUAGE_MODELS: Final = frozenset(
    {
        ModelKind.PROJECTOR,
        ModelKind.ADAPTER,
        ModelKind.CONTROL_VECTOR,
        ModelKind.IMPORTANCE_MATRIX,
        ModelKind.OTHER,
    }
)

_PART_NAME: Final = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A language model's shape and size. Bytes and parameters are of all parts of a split model.

    ``context_length`` is what the model was trained for. ``short_context_length`` is set for models that
    read with other rope factors beyond it, also at the start of a long context.
    ``kv_bytes_per_token`` is the f16 cache of one token in all layers, ``cache`` says of which kinds it is.
    ``token_table_bytes`` is the table that does no more than turn tokens into vectors; 0 where the output is
    made with it too. ``pooling`` is how an embedding model
    makes one vector of its tokens': llama.cpp's number, 0 where the file does not say. ``kind`` is one that
    makes or reads texts: other files have no such header.
    """

    architecture: str
    name: str
    quantisation: str
    parameters: int
    layers: int
    context_length: int
    short_context_length: int | None
    embedding_length: int
    heads: int
    kv_heads: int
    head_size: int
    kv_bytes_per_token: int
    cache: CacheShape
    token_table_bytes: int
    pooling: int
    vocabulary_size: int
    chat_template: str | None
    tensor_bytes: int
    file_bytes: int
    parts: int
    kind: ModelKind


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens by number, as text, and the type of each: 1 normal, 3 control, 4 user-defined.

    ``beginning`` and ``end`` are the names of those that begin and end a text, empty where the file names
    none.
    """

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    beginning: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What the first keys of a file tell, for a list of many files. ``context_length`` 0: not told there."""

    kind: ModelKind
    architecture: str
    context_length: int


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of a model; any part of a split model stands for the whole.

    Raises ``ModelMissing`` when there is no such file or a part is missing, ``ModelBroken`` when it is not
    GGUF, cut short or corrupt, or its parts are not of one model, ``InvalidModel`` when it is sound but no
    language model.
    """
    given = _read_part(path)
    files = _part_files(path, given)
    parts = [given if file == path else _read_part(file) for file in files]
    _require_one_model(files, parts)
    return _describe(parts[0], parts)


def glimpse(path: Path) -> Glimpse:
    """Read the first keys of a file, a millisecond's work. Raises as ``read_header``, but checks no more.

    The chat template stands behind them, so that a base model shows as a chat model here.
    """
    with opened(path, for_glimpse=True) as reader:
        keys = read_beginning(reader)
    architecture, general_type = (str(keys.get(f"general.{key}", "")) for key in ("architecture", "type"))
    pooling, context = (keys.get(f"{architecture}.{key}", 0) for key in ("pooling_type", "context_length"))
    kind = kind_of(
        KindFacts(
            architecture,
            general_type,
            pooling if isinstance(pooling, int) else 0,
            sections=_sections(keys),
        )
    )
    return Glimpse(kind, architecture, context if isinstance(context, int) else 0)


def model_stem(path: Path) -> str:
    """Return a file's name without its ending, and without the part's number."""
    match = _PART_NAME.fullmatch(path.name)
    return match["stem"] if match else path.stem


def first_part(path: Path) -> Path:
    """Return the file to load a model from: of a split model the first part, if it lies beside."""
    match = _PART_NAME.fullmatch(path.name)
    if match is None:
        return path
    first = _part_name(path, match, 1)
    return first if first.is_file() else path


def read_vocabulary(path: Path) -> Vocabulary:
    """Read the tokens and their types. Takes 0.2 s for 150,000 tokens. Raises as ``read_header``."""
    with opened(path) as reader:
        _, metadata = read_metadata(reader)
        tokens = metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, GgufArray) or tokens.kind != STRING:
            raise reader.broken("has no vocabulary")
        if tokens.count > _MAX_TOKENS:
            raise reader.broken(f"is corrupt: it claims {tokens.count:,} tokens")
        texts = tuple(reader.strings(tokens))
        numbers = [metadata.get(f"tokenizer.ggml.{which}_token_id") for which in ("bos", "eos")]
        ends = [
            texts[number] if isinstance(number, int) and number < len(texts) else "" for number in numbers
        ]
        types = metadata.get("tokenizer.ggml.token_type")
        if types is None:
            return Vocabulary(texts, (_NORMAL_TOKEN,) * len(texts), *ends)
        if not isinstance(types, GgufArray) or types.count != tokens.count:
            raise reader.broken("does not say of every token what type it has")
        return Vocabulary(texts, reader.numbers(types, most=_MAX_TOKENS), *ends)


class _Part:
    """One file's metadata, with the arrays of whole numbers still readable, and its tensors' totals."""

    def __init__(self, reader: GgufReader) -> None:
        self._reader = reader
        tensors, self._metadata = read_metadata(reader)
        self.name = reader.name
        self.file_bytes = reader.file_bytes
        self.parameters = 0
        self.has_long_rope = False
        self.token_table_bytes = 0
        self.tensor_names: list[str] = []
        self.bytes_by_type: Counter[str] = Counter()
        self._read_tensors(tensors)

    def broken(self, complaint: str) -> ModelBroken:
        return self._reader.broken(complaint)

    def text(self, key: str, *, default: str = "") -> str:
        value = self._metadata.get(key, default)
        if not isinstance(value, str):
            raise self.broken(f"is corrupt: {key} is not text")
        return value

    def number(
        self, key: str, *, default: int | None = None, at_least: int = 0, at_most: int = _MAX_COUNT
    ) -> int:
        """Return a whole number within the limits; without a default the key must be there."""
        value = self._metadata.get(key, default)
        if value is None:
            raise self.broken(f"does not give {key}, which every language model has")
        if not isinstance(value, int) or not at_least <= value <= at_most:
            raise self.broken(f"is corrupt: {key} is no whole number from {at_least} to {at_most:,}")
        return value

    def per_layer(self, key: str, *, layers: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return a number for each layer; most models give one number for them all."""
        value = self._metadata.get(key)
        if isinstance(value, GgufArray):
            if value.count != layers:
                raise self.broken(f"is corrupt: {key} is given for {value.count:,} layers of {layers:,}")
            numbers = self._reader.numbers(value, most=layers)
            if not all(0 <= number <= _MAX_HEADS for number in numbers):
                raise self.broken(f"is corrupt: {key} is out of range")
            return numbers
        if value is None and default is not None:
            return default
        return (self.number(key, at_most=_MAX_HEADS),) * layers

    def numbers(self, key: str, *, most: int) -> tuple[int, ...] | None:
        """Return the first numbers of an array of whole ones; None where the key holds none."""
        value = self._metadata.get(key)
        return self._reader.numbers(value, most=most) if isinstance(value, GgufArray) else None

    def length(self, key: str) -> int:
        """Return the number of elements of an array, 0 when there is none."""
        value = self._metadata.get(key)
        return value.count if isinstance(value, GgufArray) else 0

    def kind(self) -> ModelKind:
        """Return what the file is."""
        architecture = self.text("general.architecture")
        facts = KindFacts(
            architecture,
            self.text("general.type"),
            pooling=self.number(f"{architecture}.pooling_type", default=0),
            sections=_sections(self._metadata),
            has_vocabulary=self.length("tokenizer.ggml.tokens") > 0,
            has_template=bool(self.text("tokenizer.chat_template")),
        )
        return kind_of(facts)

    def _read_tensors(self, count: int) -> None:
        """Add the tensors up, and make sure that each of them lies within the file."""
        reader, end = self._reader, 0
        for _ in range(count):
            name, dimensions = reader.string(), reader.whole(U32)
            if dimensions > _MAX_DIMENSIONS:
                raise self.broken(f"is corrupt: the tensor {name!r} has {dimensions:,} dimensions")
            shape = [reader.whole(U64) for _ in range(dimensions)]
            kind, offset = reader.whole(U32), reader.whole(U64)
            # A type newer than this table takes 0 bytes here: the engine is the one to refuse it.
            type_name, block_values, block_bytes = TENSOR_TYPES.get(kind, (f"type {kind}", 1, 0))
            size = prod(shape) // block_values * block_bytes
            self.tensor_names.append(name)
            self.token_table_bytes += size if name == _INPUT else 0
            self.parameters += prod(shape)
            self.bytes_by_type[type_name] += size
            self.has_long_rope = self.has_long_rope or "rope_factors_long" in name
            end = max(end, offset + size)
        alignment = max(1, self.number("general.alignment", default=_DEFAULT_ALIGNMENT))
        end += -(-reader.position // alignment) * alignment
        if count and end > self.file_bytes:
            raise self.broken(f"is truncated: it ends at {self.file_bytes:,} of {end:,} bytes")


def _read_part(path: Path) -> _Part:
    with opened(path) as reader:
        return _Part(reader)


def _part_name(path: Path, match: re.Match[str], number: int) -> Path:
    return path.with_name(f"{match['stem']}-{number:05}-of-{match['count']}{match['suffix']}")


def _part_files(path: Path, part: _Part) -> list[Path]:
    """Return the files of all parts in order, by the naming of llama.cpp's splitter."""
    count = part.number("split.count", default=1, at_most=_MAX_PARTS)
    if count <= 1:
        return [path]
    number = part.number("split.no", default=0, at_most=count - 1) + 1
    match = _PART_NAME.fullmatch(path.name)
    if match is None or (int(match["number"]), int(match["count"])) != (number, count):
        raise InvalidModel(
            f"{path.name} is part {number} of {count}, but its name does not tell those of the others.",
            hint=f"Give the parts back their names: this one's ends in -{number:05}-of-{count:05}.gguf.",
        )
    files = [_part_name(path, match, each) for each in range(1, count + 1)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelMissing(
            f"{path.name} is part {number} of {count}, and of the others these are missing:"
            f" {', '.join(missing)}.",
            hint=f"Put all parts into one folder: {path.parent}.",
        )
    return files


def _require_one_model(files: list[Path], parts: list[_Part]) -> None:
    """Raise ``ModelBroken`` unless the parts say themselves that they belong together in this order."""
    if len(parts) == 1:
        return
    for place, part in enumerate(parts):
        if (part.number("split.no", default=0), part.number("split.count", default=1)) != (place, len(parts)):
            raise part.broken(f"says of itself that it is no part {place + 1} of {len(parts)}")
    names = [name for part in parts for name in part.tensor_names]
    declared = parts[0].number("split.tensors.count", default=len(names))
    if len(set(names)) != len(names) or len(names) != declared:
        raise ModelBroken(
            f"The {len(parts)} parts of {files[0].name} are not of one model: together they hold"
            f" {len(set(names)):,} different tensors of {declared:,}.",
            hint="Fetch all parts again, from one place.",
        )


def _sections(keys: Mapping[str, object]) -> frozenset[str]:
    return frozenset(key.partition(".")[0] for key in keys)


def _describe(part: _Part, parts: list[_Part]) -> GgufHeader:
    """Put the header together: metadata stands in the first part, tensors in all."""
    architecture, kind = part.text("general.architecture"), part.kind()
    if kind in _NO_LANGUAGE_MODELS:
        raise cannot_answer(part.name, kind, architecture)
    if not architecture:
        raise part.broken("does not name its architecture")
    layers = part.number(f"{architecture}.block_count", at_least=1, at_most=_MAX_LAYERS)
    embedding = part.number(f"{architecture}.embedding_length", at_least=1)
    attention = f"{architecture}.attention"
    heads = part.per_layer(f"{attention}.head_count", layers=layers)
    kv_heads = part.per_layer(f"{attention}.head_count_kv", layers=layers, default=heads)
    most_heads = max(heads, default=0)
    head_size = part.number(f"{attention}.key_length", default=embedding // most_heads if most_heads else 0)
    value_size = part.number(f"{attention}.value_length", default=head_size)
    shape = cache_shape(part, Attention(architecture, kv_heads, head_size, value_size, embedding))
    names = {name for each in parts for name in each.tensor_names}
    short_context = part.number(f"{architecture}.rope.scaling.original_context_length", default=0)
    bytes_by_type = sum((each.bytes_by_type for each in parts), Counter[str]())
    most_used = max(bytes_by_type, key=lambda name: bytes_by_type[name], default="unknown")
    return GgufHeader(
        architecture=architecture,
        name=part.text("general.name"),
        quantisation=FILE_TYPES.get(part.number("general.file_type", default=_MAX_COUNT), most_used),
        parameters=sum(each.parameters for each in parts),
        layers=layers,
        context_length=part.number(f"{architecture}.context_length", at_least=1),
        short_context_length=short_context or None if any(each.has_long_rope for each in parts) else None,
        embedding_length=embedding,
        heads=most_heads,
        kv_heads=max(kv_heads, default=0),
        head_size=head_size,
        kv_bytes_per_token=shape.token_bytes + shape.windowed_token_bytes,
        cache=shape,
        token_table_bytes=sum(each.token_table_bytes for each in parts) if _OUTPUT in names else 0,
        pooling=part.number(f"{architecture}.pooling_type", default=0),
        vocabulary_size=part.length("tokenizer.ggml.tokens"),
        chat_template=part.text("tokenizer.chat_template") or None,
        tensor_bytes=bytes_by_type.total(),
        file_bytes=sum(each.file_bytes for each in parts),
        parts=len(parts),
        kind=kind,
    )
