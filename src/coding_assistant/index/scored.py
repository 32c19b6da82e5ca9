"""What a search of the index answers with before texts are read: which chunk, where, and how well it fits."""

from typing import NamedTuple

# A search makes hundreds of each. As dataclasses that are frozen they would take three times as long.


class Scored(NamedTuple):
    """A chunk by its id in the index, and its score: higher is better."""

    id: int
    score: float


class ChunkHead(NamedTuple):
    """Where a chunk stands and what it is called: a tenth of the time that reading all of it takes."""

    id: int
    path: str
    start_line: int
    end_line: int
    symbol: str | None
