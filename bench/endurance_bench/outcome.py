"""What a part of the endurance run found."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from conversations_bench.report import spread

MOST_SHOWN = 20


@dataclass(slots=True)
class Outcome:
    """Figures to print, and violated invariants, of which there should be none."""

    figures: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def add_times(self, what: str, seconds: Sequence[float], *, bar: str = "") -> None:
        """Add times: how many, the middle, the 95th and 99th of a hundred, and the longest."""
        if not seconds:
            self.figures[what] = "none"
            return
        ordered = sorted(seconds)
        ninety_ninth = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
        self.figures[what] = (
            f"{len(ordered)} times; p50 / p95 {spread(ordered)} s, p99 {ninety_ninth:.2f} s,"
            f" longest {ordered[-1]:.2f} s{bar and f' (bar: {bar})'}"
        )

    def __str__(self) -> str:
        lines = [f"  {name}: {value}" for name, value in self.figures.items()]
        broken = [f"  VIOLATED: {each}" for each in self.violations[:MOST_SHOWN]]
        more = len(self.violations) - len(broken)
        told = f", {more} of them not shown" if more else ""
        return "\n".join((*lines, *broken, f"  violations: {len(self.violations)}{told}"))
