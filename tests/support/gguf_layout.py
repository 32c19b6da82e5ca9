"""Where what stands in a GGUF file's header, to the byte: for taking keys over, and for damaging them.

It knows no product code; a sound file of version 3 is taken for granted.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

_STRING: Final = 8
_ARRAY: Final = 9
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_ALIGNMENT: Final = 32
_NAMED_ELEMENTS: Final = 4  # of an array; the others are alike


@dataclass(frozen=True)
class Span:
    """``what`` stands from ``start`` to ``end``: a count, a length, a type, a text, a number, an offset."""

    what: str
    start: int
    end: int


@dataclass
class Layout:
    """``keys`` are the whole entries by name; the tensors' data begins at ``data``."""

    spans: list[Span] = field(default_factory=list)
    keys: dict[str, Span] = field(default_factory=dict)
    tensors: int = 0
    infos: int = 0
    data: int = 0


class _Cursor:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0
        self.spans: list[Span] = []

    def number(self, what: str, size: int) -> int:
        start = self.position
        self.position += size
        self.spans.append(Span(what, start, self.position))
        return int.from_bytes(self._content[start : self.position], "little")

    def text(self, what: str) -> str:
        length = self.number("length", 8)
        start = self.position
        self.position += length
        self.spans.append(Span(what, start, self.position))
        return self._content[start : self.position].decode()

    def value(self, kind: int) -> None:
        if kind == _STRING:
            self.text("text")
        elif kind == _ARRAY:
            self._array(self.number("type", 4), self.number("count", 8))
        else:
            self.number("number", _SIZES[kind])

    def _array(self, kind: int, count: int) -> None:
        for _ in range(min(count, _NAMED_ELEMENTS)):
            self.value(kind)
        rest = max(0, count - _NAMED_ELEMENTS)
        if kind != _STRING:
            self.position += rest * _SIZES[kind]
            return
        for _ in range(rest):
            self.position += 8 + int.from_bytes(self._content[self.position : self.position + 8], "little")


def layout_of(content: bytes) -> Layout:
    """Return what stands where in a file."""
    cursor = _Cursor(content)
    cursor.number("magic", 4)
    cursor.number("version", 4)
    layout = Layout(cursor.spans, tensors=cursor.number("count", 8))
    for _ in range(cursor.number("count", 8)):
        start = cursor.position
        name = cursor.text("key")
        cursor.value(cursor.number("type", 4))
        layout.keys[name] = Span(name, start, cursor.position)
    layout.infos = cursor.position
    for _ in range(layout.tensors):
        cursor.text("tensor")
        for _ in range(cursor.number("count", 4)):
            cursor.number("dimension", 8)
        cursor.number("type", 4)
        cursor.number("offset", 8)
    layout.data = -(-cursor.position // _ALIGNMENT) * _ALIGNMENT
    return layout


def entries(content: bytes, beginning: str) -> Iterator[bytes]:
    """Yield the entries, as they stand, of the keys whose names begin so."""
    for name, span in layout_of(content).keys.items():
        if name.startswith(beginning):
            yield content[span.start : span.end]


def with_entries(content: bytes, added: Iterable[bytes]) -> bytes:
    """Return the file with further entries, which must be of other keys than it has."""
    layout = layout_of(content)
    more = list(added)
    last = layout.spans[-1].end if layout.tensors else layout.infos
    head = struct.pack("<4sIQQ", b"GGUF", 3, layout.tensors, len(layout.keys) + len(more))
    header = head + content[len(head) : layout.infos] + b"".join(more) + content[layout.infos : last]
    return header.ljust(-(-len(header) // _ALIGNMENT) * _ALIGNMENT, b"\0") + content[layout.data :]
