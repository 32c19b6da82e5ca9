"""What a GGUF file says about itself, read without trusting it.

A file from the network reaches the native loader only after this has been through its header: loaders
have had memory faults from tensors that are declared larger than the file. Everything is bounds-checked,
time and memory are bounded by ``_HEADER_LIMIT_BYTES``, and no tensor is read. It knows nothing of models
by name, and does not run chat templates.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from coding_assistant.errors import InvalidModel, ModelBroken, ModelMissing
from coding_assistant.inference.ggml_types import FILE_TYPES, TENSOR_TYPES

_HEADER_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Headers are nearly all vocabulary: 6 MB for 150,000 tokens, 16 MB for the largest in use (262,000)."""

_READ_AHEAD_BYTES: Final = 4 * 1024 * 1024
_MAX_KEYS: Final = 16_384
_MAX_TENSORS: Final = 131_072
_MAX_TOKENS: Final = 2_097_152
_MAX_DIMENSIONS: Final = 4
_MAX_LAYERS: Final = 4_096
_MAX_HEADS: Final = 65_536
_MAX_COUNT: Final = 2**31
_MAX_COMPLAINT: Final = 300  # it may quote a key, and a key may be as long as the header
_DEFAULT_ALIGNMENT: Final = 32
_VERSIONS: Final = (2, 3)
_KV_VALUE_BYTES: Final = 2  # f16: on a processor a quantised cache falls off the fast attention paths

_STRING: Final = 8
_ARRAY: Final = 9
_NUMBERS: Final = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
_U32: Final = _NUMBERS[4]
_U64: Final = _NUMBERS[10]

_NORMAL_TOKEN: Final = 1

_PART_NAME: Final = re.compile(r"(?P<stem>.+)-\d{5}-of-\d{5}\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A language model's shape and size. Bytes and parameters are of all parts of a split model.

    ``context_length`` is what the model was trained for. ``short_context_length`` is set for models that
    read with other rope factors beyond it, also at the start of a long context.
    ``kv_bytes_per_token`` is the f16 cache of one token in all layers. ``pooling`` is how an embedding model
    makes one vector of its tokens': llama.cpp's number, 0 where the file does not say.
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
    pooling: int
    vocabulary_size: int
    chat_template: str | None
    tensor_bytes: int
    file_bytes: int
    parts: int


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens by number, as text, and the type of each: 1 normal, 3 control, 4 user-defined."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of a model; of a split model, name the first part.

    Raises ``ModelMissing`` when there is no such file, ``ModelBroken`` when it is not GGUF, cut short or
    corrupt, ``InvalidModel`` when it is sound but no language model.
    """
    first = _read_part(path)
    number, count = first.number("split.no", default=0), first.number("split.count", default=1)
    if number:
        raise InvalidModel(
            f"{path.name} is part {number + 1} of a split model.", hint="Name its first part instead."
        )
    parts = [first, *(_read_part(part) for part in _other_parts(path, count))]
    return _describe(first, parts)


def read_vocabulary(path: Path) -> Vocabulary:
    """Read the tokens and their types. Takes 0.2 s for 150,000 tokens. Raises as ``read_header``."""
    with _opened(path) as reader:
        _, metadata = _read_metadata(reader)
        tokens = metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, _Array) or tokens.kind != _STRING:
            raise reader.broken("has no vocabulary")
        if tokens.count > _MAX_TOKENS:
            raise reader.broken(f"is corrupt: it claims {tokens.count:,} tokens")
        texts = tuple(reader.strings(tokens))
        types = metadata.get("tokenizer.ggml.token_type")
        if types is None:
            return Vocabulary(texts, (_NORMAL_TOKEN,) * len(texts))
        if not isinstance(types, _Array) or types.count != tokens.count:
            raise reader.broken("does not say of every token what type it has")
        return Vocabulary(texts, reader.numbers(types))


@dataclass(frozen=True, slots=True)
class _Array:
    """An array that was passed over: where its elements begin in the header."""

    kind: int
    count: int
    offset: int


_Value: TypeAlias = int | float | str | _Array


class _Reader:
    """A cursor over the header of one file. It never reads, or believes in, a byte past the file's end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._data = bytearray()
        self.position = 0
        self.file_bytes = os.fstat(file.fileno()).st_size

    def broken(self, complaint: str) -> ModelBroken:
        """Return the error to raise: the file's name and what is wrong with it."""
        quoted = complaint if len(complaint) < _MAX_COMPLAINT else f"{complaint[:_MAX_COMPLAINT]}…"
        return ModelBroken(f"{self._path.name} {quoted}.", hint="Delete the file and fetch or copy it again.")

    def number(self, kind: struct.Struct) -> int | float:
        self._load(self.position + kind.size)
        value: int | float = kind.unpack_from(self._data, self.position)[0]
        self.position += kind.size
        return value

    def whole(self, kind: struct.Struct) -> int:
        return int(self.number(kind))

    def string(self) -> str:
        start = self.position + _U64.size
        end = start + self.whole(_U64)
        self._load(end)
        self.position = end
        return self._data[start:end].decode(errors="replace")

    def array(self) -> _Array:
        """Pass over an array; each element takes bytes of the file, so a false count ends soon."""
        kind, count = self.whole(_U32), self.whole(_U64)
        array = _Array(kind, count, self.position)
        if kind in _NUMBERS:
            self.position += count * _NUMBERS[kind].size
        elif kind == _STRING:
            for _ in range(count):
                self._load(self.position + _U64.size)
                self.position += _U64.size + _U64.unpack_from(self._data, self.position)[0]
        else:
            raise self.broken(f"is corrupt: it holds an array of unknown type {kind}")
        self._load(self.position)
        return array

    def strings(self, array: _Array) -> Iterator[str]:
        self.position = array.offset
        for _ in range(array.count):
            yield self.string()

    def numbers(self, array: _Array) -> tuple[int, ...]:
        """Return the elements of an array of whole numbers."""
        kind = _NUMBERS.get(array.kind)
        if kind is None or kind.format in ("<f", "<d"):
            raise self.broken("is corrupt: it holds an array of another type where whole numbers belong")
        values: tuple[int, ...] = struct.unpack_from(
            f"<{array.count}{kind.format[1]}", self._data, array.offset
        )
        return values

    def _load(self, end: int) -> None:
        """Have the header in memory up to ``end``."""
        if end <= len(self._data):
            return
        if end > self.file_bytes:
            raise self.broken(
                f"is truncated or corrupt: its header goes on past the end at {self.file_bytes:,} bytes"
            )
        if end > _HEADER_LIMIT_BYTES:
            raise self.broken(f"is corrupt: its header has more than {_HEADER_LIMIT_BYTES:,} bytes")
        self._data += self._file.read(max(end - len(self._data), _READ_AHEAD_BYTES))
        if end > len(self._data):
            raise self.broken("became shorter while it was read")


@contextmanager
def _opened(path: Path) -> Iterator[_Reader]:
    """Open a GGUF file, positioned after its version."""
    try:
        with path.open("rb") as file:
            reader = _Reader(file, path)
            if file.read(4) != b"GGUF":
                raise reader.broken("is not a GGUF file" if reader.file_bytes else "is empty")
            file.seek(0)
            reader.position = 4
            version = reader.whole(_U32)
            if version not in _VERSIONS:
                raise reader.broken(
                    f"has GGUF version {version}; versions 2 and 3 (little-endian) can be read"
                )
            yield reader
    except FileNotFoundError as error:
        raise ModelMissing(f"There is no file {path}.", hint="Check the path.") from error
    except OSError as error:
        raise ModelBroken(
            f"{path.name} cannot be read: {error.strerror}.",
            hint="Check the file's permissions and the disk.",
        ) from error


def _read_metadata(reader: _Reader) -> tuple[int, dict[str, _Value]]:
    """Return the number of tensors, and the keys with their values."""
    tensors, keys = reader.whole(_U64), reader.whole(_U64)
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise reader.broken(f"is corrupt: it claims {tensors:,} tensors and {keys:,} keys")
    metadata: dict[str, _Value] = {}
    for _ in range(keys):
        key = reader.string()
        if key in metadata:
            raise reader.broken(f"is corrupt: it holds the key {key!r} twice")
        metadata[key] = _read_value(reader, reader.whole(_U32))
    return tensors, metadata


def _read_value(reader: _Reader, kind: int) -> _Value:
    if kind == _STRING:
        return reader.string()
    if kind == _ARRAY:
        return reader.array()
    if kind in _NUMBERS:
        return reader.number(_NUMBERS[kind])
    raise reader.broken(f"is corrupt: it holds a value of unknown type {kind}")


class _Part:
    """One file's metadata, with the arrays of whole numbers still readable, and its tensors' totals."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        tensors, self._metadata = _read_metadata(reader)
        self.file_bytes = reader.file_bytes
        self.parameters = 0
        self.has_long_rope = False
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
        if isinstance(value, _Array):
            if value.count != layers:
                raise self.broken(f"is corrupt: {key} is given for {value.count:,} layers of {layers:,}")
            numbers = self._reader.numbers(value)
            if not all(0 <= number <= _MAX_HEADS for number in numbers):
                raise self.broken(f"is corrupt: {key} is out of range")
            return numbers
        if value is None and default is not None:
            return default
        return (self.number(key, at_most=_MAX_HEADS),) * layers

    def length(self, key: str) -> int:
        """Return the number of elements of an array, 0 when there is none."""
        value = self._metadata.get(key)
        return value.count if isinstance(value, _Array) else 0

    def _read_tensors(self, count: int) -> None:
        """Add the tensors up, and make sure that each of them lies within the file."""
        reader, end = self._reader, 0
        for _ in range(count):
            name, dimensions = reader.string(), reader.whole(_U32)
            if dimensions > _MAX_DIMENSIONS:
                raise self.broken(f"is corrupt: the tensor {name!r} has {dimensions:,} dimensions")
            shape = [reader.whole(_U64) for _ in range(dimensions)]
            kind, offset = reader.whole(_U32), reader.whole(_U64)
            # A type newer than this table takes 0 bytes here: the engine is the one to refuse it.
            type_name, block_values, block_bytes = TENSOR_TYPES.get(kind, (f"type {kind}", 1, 0))
            size = prod(shape) // block_values * block_bytes
            self.parameters += prod(shape)
            self.bytes_by_type[type_name] += size
            self.has_long_rope = self.has_long_rope or "rope_factors_long" in name
            end = max(end, offset + size)
        alignment = max(1, self.number("general.alignment", default=_DEFAULT_ALIGNMENT))
        end += -(-reader.position // alignment) * alignment
        if count and end > self.file_bytes:
            raise self.broken(f"is truncated: it ends at {self.file_bytes:,} of {end:,} bytes")


def _read_part(path: Path) -> _Part:
    with _opened(path) as reader:
        return _Part(reader)


def _other_parts(path: Path, count: int) -> Iterator[Path]:
    """Yield the paths of parts 2 to ``count``, by the naming of llama.cpp's splitter."""
    if count <= 1:
        return
    match = _PART_NAME.fullmatch(path.name)
    if match is None:
        raise InvalidModel(
            f"{path.name} is the first of {count} parts, but its name does not tell those of the others.",
            hint=f"Give the parts back their names, which end in -00001-of-{count:05}.gguf and so on.",
        )
    for number in range(2, count + 1):
        yield path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf")


def _describe(part: _Part, parts: list[_Part]) -> GgufHeader:
    """Put the header together: metadata stands in the first part, tensors in all."""
    architecture = part.text("general.architecture")
    if not architecture:
        raise part.broken("does not name its architecture")
    if architecture == "clip" or part.text("general.type", default="model") != "model":
        kind = part.text("general.type", default="projector")
        raise InvalidModel(
            f"The file is a {kind}, not a language model.", hint="Name the GGUF file of the model itself."
        )
    layers = part.number(f"{architecture}.block_count", at_least=1, at_most=_MAX_LAYERS)
    embedding = part.number(f"{architecture}.embedding_length", at_least=1)
    attention = f"{architecture}.attention"
    heads = part.per_layer(f"{attention}.head_count", layers=layers)
    kv_heads = part.per_layer(f"{attention}.head_count_kv", layers=layers, default=heads)
    most_heads = max(heads, default=0)
    head_size = part.number(f"{attention}.key_length", default=embedding // most_heads if most_heads else 0)
    value_size = part.number(f"{attention}.value_length", default=head_size)
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
        kv_bytes_per_token=sum(kv_heads) * (head_size + value_size) * _KV_VALUE_BYTES,
        pooling=part.number(f"{architecture}.pooling_type", default=0),
        vocabulary_size=part.length("tokenizer.ggml.tokens"),
        chat_template=part.text("tokenizer.chat_template") or None,
        tensor_bytes=bytes_by_type.total(),
        file_bytes=sum(each.file_bytes for each in parts),
        parts=len(parts),
    )
