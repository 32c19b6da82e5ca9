"""What a search of the index answers with before anything is read: which chunk, and how well it fits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scored:
    """A chunk by its id in the index, and its score: higher is better."""

    id: int
    score: float
