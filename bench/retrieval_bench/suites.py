"""The suites: which questions are asked about how much of which corpora."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from retrieval_bench.corpora import Corpus, Scope
from retrieval_bench.follow_ups import FollowUp, as_product_asks, read_follow_ups
from retrieval_bench.questions import (
    Question,
    cited_in_release,
    in_release,
    read_gold_lines,
    read_semble,
    read_swe_qa,
)


class Suite(StrEnum):
    """A family of questions in one scope."""

    SEMBLE_ROOT = "semble-root"
    SEMBLE_WHOLE = "semble-whole"
    SWE_QA = "swe-qa"
    GOLD_LINES = "gold-lines"
    FOLLOW_UPS = "follow-ups"
    FOLLOW_UPS_BARE = "follow-ups-bare"  # the same questions as if nothing had been said before

    @property
    def scope(self) -> Scope:
        """How much of a corpus is searched."""
        return Scope.ROOT if self is Suite.SEMBLE_ROOT else Scope.WHOLE


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """Where the questions lie; a suite without its files has no questions."""

    semble: Path | None = None
    swe_qa: Path | None = None
    gold_lines: tuple[Path, ...] = ()
    follow_ups: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """The questions of a suite about one corpus; ``left_out`` counts those whose gold its release lacks."""

    suite: Suite
    corpus: Corpus
    questions: tuple[Question, ...]
    left_out: int


def read_tasks(
    suite: Suite, corpora: Iterable[Corpus], benchmarks: Benchmarks, cache: Path
) -> Iterator[Task]:
    """Yield a task for each corpus that the suite asks about; nothing of one that is not fetched is asked."""
    read = _readers(benchmarks, cache)[suite]
    for corpus in corpora:
        questions = read(corpus)
        if not questions:
            continue
        paths = _paths(corpus.place(cache), corpus.indexed_folder(suite.scope))
        fit = cited_in_release if suite is Suite.SWE_QA else in_release
        answerable = tuple(filter(None, (fit(question, paths) for question in questions)))
        yield Task(suite, corpus, answerable, len(questions) - len(answerable))


_Read = Callable[[Corpus], list[Question]]


def _readers(benchmarks: Benchmarks, cache: Path) -> Mapping[Suite, _Read]:
    """Return what reads a corpus's questions, for each suite."""
    gold_lines = read_gold_lines(benchmarks.gold_lines)
    follow_ups = read_follow_ups(benchmarks.follow_ups)

    def semble(corpus: Corpus) -> list[Question]:
        return read_semble(benchmarks.semble, corpus.name) if benchmarks.semble else []

    def swe_qa(corpus: Corpus) -> list[Question]:
        return read_swe_qa(benchmarks.swe_qa, corpus.name) if benchmarks.swe_qa else []

    def about(corpus: Corpus) -> list[FollowUp]:
        return [each for each in follow_ups if each.question.corpus == corpus.name]

    def in_conversation(corpus: Corpus) -> list[Question]:
        project = corpus.place(cache)
        return [as_product_asks(each, project) for each in about(corpus)] if project.is_dir() else []

    return {
        Suite.SEMBLE_ROOT: semble,
        Suite.SEMBLE_WHOLE: semble,
        Suite.SWE_QA: swe_qa,
        Suite.GOLD_LINES: lambda corpus: [each for each in gold_lines if each.corpus == corpus.name],
        Suite.FOLLOW_UPS: in_conversation,
        Suite.FOLLOW_UPS_BARE: lambda corpus: [each.question for each in about(corpus)],
    }


def _paths(project: Path, folder: str) -> list[PurePosixPath]:
    """Return the files of the folder, relative to the project; none if it is not there."""
    files = (path for path in (project / folder).rglob("*") if path.is_file())
    return [PurePosixPath(path.relative_to(project).as_posix()) for path in files]
