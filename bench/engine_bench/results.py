"""What was measured of an engine, and the file that keeps it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

What: TypeAlias = Literal["load", "first token", "read", "write", "memory"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure.

    ``load`` is in seconds; ``first token`` too, of a prompt of about ``size`` tokens with the loading in it;
    ``read`` in tokens a second of a prompt of about ``size``, ``write`` behind about ``size``; ``memory`` in
    bytes that must stay resident once the longest prompt is read. ``tokens`` is how many it really were.
    """

    model: str
    arm: str
    round: int
    what: What
    size: int
    tokens: int
    value: float


@dataclass(frozen=True, slots=True)
class Model:
    """A model's file and what of it bounds the speed: bytes of weights, and of context by token."""

    name: str
    weight_bytes: int
    kv_bytes_per_token: int


@dataclass(slots=True)
class Results:
    """One run."""

    commit: str
    processor: str
    threads: int
    copied_bytes_per_second: float
    engines: dict[str, str]
    models: list[Model] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)

    def arms(self, model: str) -> list[str]:
        """Return the arms that ran a model, in the order in which they began."""
        return list(dict.fromkeys(each.arm for each in self.measured if each.model == model))

    def median(self, model: str, arm: str, what: What, size: int = 0) -> float | None:
        """Return the median over the rounds; None for what was not measured."""
        key = (model, arm, what, size)
        found = [each.value for each in self.measured if (each.model, each.arm, each.what, each.size) == key]
        return median(found) if found else None

    def add(self, figures: Iterable[Measured]) -> None:
        """Keep figures."""
        self.measured.extend(figures)


_RESULTS = TypeAdapter(Results)


def write_results(results: Results, file: Path) -> None:
    """Write the results as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_RESULTS.dump_json(results, indent=1) + b"\n")


def read_results(file: Path) -> Results:
    """Read what ``write_results`` wrote."""
    return _RESULTS.validate_json(file.read_bytes())
