"""What was measured, and the file that keeps it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from conversations_bench.course import After

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Measured:
    """One question to one arm. Times are a reader's, in seconds, but for ``reading``: that is the engine's.

    ``new_tokens`` is what the turn added to the prompt, None where that is not known or not the rule: a first
    turn, one that compacted, another's layout. ``loading_seconds`` is a model's that was not in memory.
    """

    arm: str
    round: int
    step: str
    conversation: str
    turn: int
    after: After
    prompt_tokens: int
    read_tokens: int
    cached_tokens: int
    written_tokens: int
    new_tokens: int | None
    compacted: bool
    first_token_seconds: float
    total_seconds: float
    reading_seconds: float
    loading_seconds: float
    searching_seconds: float
    service_bytes: int
    engine_bytes: int
    snapshot_bytes: int

    @property
    def own_seconds(self) -> float:
        """The part of the time to the first token that neither reading nor loading took."""
        return self.first_token_seconds - self.reading_seconds - self.loading_seconds


@dataclass(frozen=True, slots=True)
class Restart:
    """How long an arm took from being stopped to being ready again."""

    arm: str
    round: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DecodingPair:
    """The same length written through our API and by the bare engine, in tokens a second."""

    prompt_tokens: int
    written_tokens: int
    ours_per_second: float
    bare_per_second: float


@dataclass(slots=True)
class Results:
    """One run."""

    commit: str
    python: str
    engine: str
    model: str
    project: str
    context_tokens: int
    answer_tokens: int
    threads: int
    settings: dict[str, str]
    measured: list[Measured] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    decoding: list[DecodingPair] = field(default_factory=list)

    def arms(self) -> list[str]:
        """Return the arms, in the order in which they began."""
        return list(dict.fromkeys(each.arm for each in self.measured))

    def of(self, arm: str, *, after: Iterable[After] = tuple(After)) -> Iterator[Measured]:
        """Yield what was measured of an arm."""
        wanted = frozenset(after)
        return (each for each in self.measured if each.arm == arm and each.after in wanted)


_RESULTS = TypeAdapter(Results)


def write_results(results: Results, file: Path) -> None:
    """Write the results as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_RESULTS.dump_json(results, indent=1) + b"\n")


def read_results(file: Path) -> Results:
    """Read what ``write_results`` wrote."""
    return _RESULTS.validate_json(file.read_bytes())
