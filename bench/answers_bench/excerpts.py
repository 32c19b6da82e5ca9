"""Lines of a package as a model is given them to read, and the gold lines of a question as such."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from answers_bench.packages import Package
from answers_bench.questions import Place, Question
from coding_assistant.domain import Chunk, Source, SourceFile
from coding_assistant.project.chunk import chunk
from coding_assistant.project.walk import find, open_root, read


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines of a package, as they are given to a model."""

    place: Place
    source: Chunk

    @classmethod
    def of(cls, source: Chunk) -> "Excerpt":
        """Return a chunk as an excerpt."""
        return cls(Place(source.path, source.start_line, source.end_line), source)


def gold_excerpts(question: Question, package: Package) -> list[Excerpt]:
    """Return a question's gold lines, each run with the symbol and the heads that our search shows."""
    return [Excerpt.of(_gold_chunk(place, package)) for place in question.gold]


def as_sources(excerpts: Sequence[Excerpt]) -> tuple[Source, ...]:
    """Return excerpts under the numbers of a conversation's first question."""
    return tuple(
        Source(number, each.source, each.source.digest) for number, each in enumerate(excerpts, start=1)
    )


def _gold_chunk(place: Place, package: Package) -> Chunk:
    text = package.text(place)
    if text is None:
        raise ValueError(f"{package.root.name} has no {place}")
    plain = Chunk(place.path, place.start, place.end, text)
    around = next((each for each in _chunks_of(place.path, package) if _holds(each, place.start)), None)
    if around is None:
        return plain
    return replace(
        plain,
        language=around.language,
        symbol=around.symbol,
        context=tuple(line for line in around.context if line.line < place.start),
    )


def _chunks_of(path: PurePosixPath, package: Package) -> Sequence[Chunk]:
    """Return a file as the product cuts it; nothing of a file that the product leaves out."""
    root = open_root(package.root)
    found = find(root, path)
    file = read(root, found) if found else None
    return chunk(file) if isinstance(file, SourceFile) else ()


def _holds(piece: Chunk, line: int) -> bool:
    return piece.start_line <= line <= piece.end_line
