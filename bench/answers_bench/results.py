"""What was answered, whole, and the file that keeps it after every answer: a run can be gone on with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

from answers_bench.questions import Place, Question


class ArmName(StrEnum):
    """The arms, in the order in which they are asked and shown."""

    NO_CONTEXT = "no context"
    BM25 = "BM25, plain"
    GOLD_PLAIN = "gold, plain"
    GOLD_OURS = "gold, ours"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation and the text of its lines, None if the package has no such lines."""

    place: Place
    text: str | None


@dataclass(frozen=True, slots=True)
class Answered:
    """One question to one arm. Times are a reader's, in seconds.

    ``shown`` is what the model read of the package. ``cached_tokens`` are those of the prompt that the engine
    had read before. ``not_found`` is the product's own word that the sources do not hold the answer.
    ``failure`` says why there is no answer; it is asked again when the run is gone on with.
    """

    arm: str
    id: str
    commit: str
    answer: str = ""
    shown: tuple[Place, ...] = ()
    citations: tuple[Cited, ...] = ()
    unknown_citations: tuple[int, ...] = ()
    not_found: bool | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all answers of a run have in common; a run is gone on with only under the same."""

    engine: str
    model: str
    python: str
    context_tokens: int
    answer_tokens: int
    threads: int
    settings: dict[str, str]


@dataclass(slots=True)
class Results:
    """One run: the questions, the regexes of a refusal, and the answers."""

    conditions: Conditions
    refusals: tuple[str, ...] = ()
    questions: dict[str, Question] = field(default_factory=dict)
    answers: list[Answered] = field(default_factory=list)

    def arms(self) -> list[str]:
        """Return the arms, in the order in which they began."""
        return list(dict.fromkeys(each.arm for each in self.answers))

    def of(self, arm: str) -> dict[str, Answered]:
        """Return an arm's answers by the question's id."""
        return {each.id: each for each in self.answers if each.arm == arm and not each.failure}

    def failures(self) -> list[Answered]:
        """Return what could not be asked."""
        return [each for each in self.answers if each.failure]

    def unanswered(self, arm: str, questions: Iterable[Question]) -> list[Question]:
        """Return which of the questions the arm has yet to answer."""
        answered = self.of(arm)
        return [question for question in questions if question.id not in answered]

    def add(self, answered: Answered) -> None:
        """Keep an answer, in the place of one that failed."""
        self.answers = [each for each in self.answers if (each.arm, each.id) != (answered.arm, answered.id)]
        self.answers.append(answered)

    def ask_about(self, questions: Sequence[Question]) -> None:
        """Take questions up, as they are written today: their answers are marked by these facts."""
        self.questions |= {question.id: question for question in questions}


class OtherConditions(Exception):
    """The file holds answers that were made in another way."""


_RESULTS = TypeAdapter(Results)


def write_results(results: Results, file: Path) -> None:
    """Write the results as JSON; whoever reads the file meanwhile finds the old ones or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arriving = file.with_suffix(".arriving")
    arriving.write_bytes(_RESULTS.dump_json(results, indent=1) + b"\n")
    arriving.replace(file)


def read_results(file: Path) -> Results:
    """Read what ``write_results`` wrote."""
    return _RESULTS.validate_json(file.read_bytes())


def begun_results(file: Path, conditions: Conditions) -> Results:
    """Return what the file holds already, or nothing yet. Raises ``OtherConditions``."""
    if not file.is_file():
        return Results(conditions)
    results = read_results(file)
    if results.conditions != conditions:
        raise OtherConditions(f"{file} holds answers under {results.conditions}: name another file.")
    return results
