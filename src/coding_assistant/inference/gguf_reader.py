"""A cursor over the header of a GGUF file, which trusts nothing that it reads.

A file from the network reaches the native loader only after its header has been through this: loaders have
had memory faults from what files declare. Everything is bounds-checked, time and memory are bounded by
``_HEADER_LIMIT_BYTES``, and no tensor is read. It knows nothing of what the keys mean.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from coding_assistant.errors import ModelBroken, ModelMissing
from coding_assistant.inference.model_kinds import foreign_format

_HEADER_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Headers are nearly all vocabulary: 6 MB for 150,000 tokens, 16 MB for the largest in use (262,000)."""

_READ_AHEAD_BYTES: Final = 4 * 1024 * 1024
_GLIMPSE_BYTES: Final = 64 * 1024  # the keys before the vocabulary take some 2 KB
_MAX_KEYS: Final = 16_384
_MAX_TENSORS: Final = 131_072
_MAX_COMPLAINT: Final = 300  # it may quote a key, and a key may be as long as the header
_VERSIONS: Final = (2, 3)
_BEGINNING_BYTES: Final = 64

STRING: Final = 8
_ARRAY: Final = 9
_NUMBERS: Final = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
U32: Final = _NUMBERS[4]
U64: Final = _NUMBERS[10]


@dataclass(frozen=True, slots=True)
class GgufArray:
    """An array that was passed over: where its elements begin in the header."""

    kind: int
    count: int
    offset: int


Value: TypeAlias = int | float | str | GgufArray


class GgufReader:
    """A cursor over the header of one file. It never reads, or believes in, a byte past the file's end."""

    def __init__(self, file: BinaryIO, path: Path, *, read_ahead_bytes: int) -> None:
        self._read_ahead = read_ahead_bytes
        self._file = file
        self._path = path
        self._data = bytearray()
        self.position = 0
        self.name = path.name
        self.file_bytes = os.fstat(file.fileno()).st_size

    def broken(self, complaint: str) -> ModelBroken:
        """Return the error to raise: the file's name and what is wrong with it."""
        quoted = complaint if len(complaint) < _MAX_COMPLAINT else f"{complaint[:_MAX_COMPLAINT]}…"
        return ModelBroken(
            f"{self._path.name} {quoted}.",
            hint=f"Is {self._path} the file that you mean? A download or a copy that broke off has to be made"
            " again.",
        )

    def number(self, kind: struct.Struct) -> int | float:
        """Return the next number, of this type."""
        self._load(self.position + kind.size)
        value: int | float = kind.unpack_from(self._data, self.position)[0]
        self.position += kind.size
        return value

    def whole(self, kind: struct.Struct) -> int:
        """Return the next number, of a type of whole numbers."""
        return int(self.number(kind))

    def string(self) -> str:
        """Return the next text; bytes that are no UTF-8 are replaced."""
        start = self.position + U64.size
        end = start + self.whole(U64)
        self._load(end)
        self.position = end
        return self._data[start:end].decode(errors="replace")

    def array(self) -> GgufArray:
        """Pass over an array; each element takes bytes of the file, so a false count ends soon."""
        kind, count = self.whole(U32), self.whole(U64)
        array = GgufArray(kind, count, self.position)
        if kind in _NUMBERS:
            self.position += count * _NUMBERS[kind].size
        elif kind == STRING:
            for _ in range(count):
                self._load(self.position + U64.size)
                self.position += U64.size + U64.unpack_from(self._data, self.position)[0]
        else:
            raise self.broken(f"is corrupt: it holds an array of unknown type {kind}")
        self._load(self.position)
        return array

    def strings(self, array: GgufArray) -> Iterator[str]:
        """Yield the elements of an array of texts."""
        self.position = array.offset
        for _ in range(array.count):
            yield self.string()

    def numbers(self, array: GgufArray, *, most: int) -> tuple[int, ...]:
        """Return the first elements of an array of whole numbers; 40 bytes each, whatever the file says."""
        kind = _NUMBERS.get(array.kind)
        if kind is None or kind.format in ("<f", "<d"):
            raise self.broken("is corrupt: it holds an array of another type where whole numbers belong")
        values: tuple[int, ...] = struct.unpack_from(
            f"<{min(array.count, most)}{kind.format[1]}", self._data, array.offset
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
        self._data += self._file.read(max(end - len(self._data), self._read_ahead))
        if end > len(self._data):
            raise self.broken("became shorter while it was read")


@contextmanager
def opened(path: Path, *, for_glimpse: bool = False) -> Iterator[GgufReader]:
    """Open a GGUF file, positioned after its version; ``for_glimpse`` to read no more than its beginning.

    Raises ``ModelMissing`` and ``ModelBroken``.
    """
    try:
        with path.open("rb") as file:
            ahead = _GLIMPSE_BYTES if for_glimpse else _READ_AHEAD_BYTES
            reader = GgufReader(file, path, read_ahead_bytes=ahead)
            beginning = file.read(_BEGINNING_BYTES)
            file.seek(0)
            if not beginning.startswith(b"GGUF"):
                raise _no_gguf(reader, beginning)
            reader.position = 4
            _require_version(path, reader.whole(U32))
            yield reader
    except FileNotFoundError as error:
        raise ModelMissing(f"There is no file {path}.", hint="Check the path.") from error
    except OSError as error:
        raise ModelBroken(
            f"{path.name} cannot be read: {error.strerror}.",
            hint="Check the file's permissions and the disk.",
        ) from error


def _no_gguf(reader: GgufReader, beginning: bytes) -> ModelBroken:
    found = foreign_format(beginning)
    if not found:
        return reader.broken("is not a GGUF file" if reader.file_bytes else "is empty")
    return ModelBroken(
        f"{reader.name} is not a GGUF file, but {found}.",
        hint="A model in the format GGUF is needed: its publisher or others often offer one beside.",
    )


def _require_version(path: Path, version: int) -> None:
    if version in _VERSIONS:
        return
    if version.to_bytes(4, "big") in {each.to_bytes(4, "little") for each in _VERSIONS}:
        raise ModelBroken(
            f"{path.name} is a big-endian GGUF file, made for another kind of processor.",
            hint="Fetch the ordinary, little-endian file, or convert it with gguf-convert-endian.",
        )
    raise ModelBroken(
        f"{path.name} has GGUF version {version}; versions 2 and 3 can be read.",
        hint="Fetch a newer file of the model." if version < min(_VERSIONS) else "Update this program.",
    )


def read_metadata(reader: GgufReader) -> tuple[int, dict[str, Value]]:
    """Return the number of tensors, and the keys with their values."""
    tensors, keys = reader.whole(U64), reader.whole(U64)
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise reader.broken(f"is corrupt: it claims {tensors:,} tensors and {keys:,} keys")
    metadata: dict[str, Value] = {}
    for _ in range(keys):
        key = reader.string()
        if key in metadata:
            raise reader.broken(f"is corrupt: it holds the key {key!r} twice")
        metadata[key] = _read_value(reader, reader.whole(U32))
    return tensors, metadata


def _read_value(reader: GgufReader, kind: int) -> Value:
    if kind == STRING:
        return reader.string()
    if kind == _ARRAY:
        return reader.array()
    if kind in _NUMBERS:
        return reader.number(_NUMBERS[kind])
    raise reader.broken(f"is corrupt: it holds a value of unknown type {kind}")


def read_beginning(reader: GgufReader) -> dict[str, Value]:
    """Return the keys before the vocabulary: what a list of models shows stands there, by convention."""
    _, keys = reader.whole(U64), reader.whole(U64)
    found: dict[str, Value] = {}
    for _ in range(min(keys, _MAX_KEYS)):
        key = reader.string()
        if key.startswith("tokenizer."):
            break
        found[key] = _read_value(reader, reader.whole(U32))
    return found
