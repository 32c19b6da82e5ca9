"""What plain BM25 (bm25s) finds of a package: the search that a first attempt would have."""

from collections.abc import Iterator

import bm25s

from answers_bench.excerpts import Excerpt
from answers_bench.packages import Package
from coding_assistant.domain import Chunk, FoundFile, SourceFile
from coding_assistant.project.chunk import chunk_by_lines
from coding_assistant.project.walk import open_root, read, walk
from coding_assistant.terms import index_terms, query_terms

CHUNK_CHARACTERS = 1_500
"""A chunk of the trial that this benchmark grew from; three of them were about 1,140 tokens."""

CHUNKS_SHOWN = 3


class PlainChunks:
    """A package cut into runs of whole lines, tests included, and searched with the library's defaults."""

    def __init__(self, package: Package) -> None:
        self._chunks = [piece for file in _files(package) for piece in _cut(file)]
        self._retriever = bm25s.BM25()
        words = [index_terms(f"{piece.path} {piece.text}").split() for piece in self._chunks]
        self._retriever.index(words, show_progress=False)

    def best(self, question: str) -> list[Excerpt]:
        """Return the best chunks for a question, best first."""
        terms = list(query_terms(question).terms)
        most = min(CHUNKS_SHOWN, len(self._chunks))
        numbers, _ = self._retriever.retrieve([terms], k=most, show_progress=False)
        return [Excerpt.of(self._chunks[number]) for number in numbers[0]]


def _cut(file: SourceFile) -> list[Chunk]:
    return chunk_by_lines(file, target_characters=CHUNK_CHARACTERS)


def _files(package: Package) -> Iterator[SourceFile]:
    root = open_root(package.root)
    for found in walk(root):
        file = read(root, found) if isinstance(found, FoundFile) else None
        if isinstance(file, SourceFile):
            yield file
