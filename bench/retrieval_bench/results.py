"""Results as they are kept: every question's scores by adapter, in columns, with what each adapter took."""

import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from retrieval_bench.measuring import Costs, Measurement
from retrieval_bench.suites import Task

DIGITS = 3  # of a score
TIME_DIGITS = 1  # of milliseconds, whose metrics begin with "ms"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as results know it."""

    id: str
    corpus: str
    language: str
    category: str


@dataclass(slots=True)
class SuiteResults:
    """The questions of a suite and, for each adapter and metric, one value a question in the same order."""

    questions: list[Asked] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    scores: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    costs: dict[str, dict[str, Costs]] = field(default_factory=dict)

    def add(self, task: Task, measurements: dict[str, Measurement]) -> None:
        """Add a corpus, measured by every adapter."""
        before = len(self.questions)
        self.left_out[task.corpus.name] = task.left_out
        self.questions.extend(
            Asked(question.id, task.corpus.name, task.corpus.language, question.category)
            for question in task.questions
        )
        for adapter, measurement in measurements.items():
            self.costs.setdefault(adapter, {})[task.corpus.name] = measurement.costs
            columns = self.scores.setdefault(adapter, {})
            for number, scores in enumerate(measurement.scores, start=before):
                for metric, value in scores.items():
                    column = columns.setdefault(metric, [])
                    column.extend([None] * (number - len(column)))
                    column.append(round(value, TIME_DIGITS if metric.startswith("ms") else DIGITS))

    def values(self, adapter: str, metric: str) -> Iterator[tuple[Asked, float]]:
        """Yield the questions that have a value of the metric, with it."""
        column = self.scores.get(adapter, {}).get(metric, [])
        for question, value in zip(self.questions, column, strict=False):
            if value is not None:
                yield question, value


@dataclass(frozen=True, slots=True)
class Results:
    """One run. ``published`` are others' NDCG@10 on the pinned revisions, by repository and method."""

    commit: str
    python: str
    embedder: str
    characters_per_token: float
    releases: dict[str, str]
    published: dict[str, dict[str, float]]
    suites: dict[str, SuiteResults] = field(default_factory=dict)


_RESULTS = TypeAdapter(Results)


def read_results(file: Path) -> Results:
    """Read what ``write_results`` wrote."""
    return _RESULTS.validate_json(file.read_bytes())


def write_results(results: Results, file: Path) -> None:
    """Write the results as JSON without spaces: a run of all suites has some hundred thousand values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_RESULTS.dump_json(results))


def current_commit(repository: Path) -> str:
    """Return the commit's short name, and ``-changed`` if the tree differs from it; "unknown" without git."""
    try:
        commit = _git(repository, "rev-parse", "--short", "HEAD")
        changes = _git(repository, "status", "--short", "--untracked-files=no")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-changed" if changes else commit


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],  # noqa: S607  -- whichever git there is
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def python_version() -> str:
    """Return the version of this Python."""
    return platform.python_version()
