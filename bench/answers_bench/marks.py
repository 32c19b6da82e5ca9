"""What an answer is worth: facts stated, refusals, right citations. How it was asked is not known here."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from answers_bench.questions import Facts, Kind, Question
from answers_bench.results import Answered, Cited


def is_found(patterns: Iterable[str], text: str) -> bool:
    """Return whether one of the regexes is found, whatever its case and the form of its apostrophes."""
    straight = text.replace("\N{LEFT SINGLE QUOTATION MARK}", "'").replace(
        "\N{RIGHT SINGLE QUOTATION MARK}", "'"
    )
    return any(re.search(pattern, straight, re.IGNORECASE) for pattern in patterns)


def stated(facts: Facts, text: str) -> tuple[bool, ...]:
    """Return for each of the facts whether the text states it."""
    return tuple(is_found(fact, text) for fact in facts)


@dataclass(frozen=True, slots=True)
class Marks:
    """An answer's marks. ``refused``: it has the words of a refusal. ``cited``: each citation, right or not.

    ``flagged`` is the product's own word that the sources do not hold the answer, None where it gives none.
    ``gold_files`` is the share of the files with gold that are cited, ``gold_shown`` whether each run of gold
    lines was at least touched by what the model read; None where there is no gold.
    """

    facts: tuple[bool, ...]
    refused: bool
    flagged: bool | None
    cited: tuple[bool, ...]
    nowhere: int
    gold_files: float | None
    gold_shown: bool | None
    is_absent: bool
    has_words: bool

    @property
    def all_facts(self) -> bool:
        """Whether nothing that is required is missing."""
        return all(self.facts)

    @property
    def gave_up(self) -> bool:
        """Whether it says that it does not know and states no fact, or the product says so."""
        return bool(self.flagged) or (self.refused and not any(self.facts))

    @property
    def answers(self) -> bool:
        """Whether it is an answer to a question that has one, right or wrong."""
        return self.has_words and not self.is_absent and not self.gave_up


def mark(question: Question, answered: Answered, refusals: Sequence[str]) -> Marks:
    """Return the marks of an answer."""
    facts = stated(question.facts, answered.answer)
    files = {place.path for place in question.gold}
    cited_files = {each.place.path for each in answered.citations}
    return Marks(
        facts=facts,
        refused=is_found(refusals, answered.answer),
        flagged=answered.not_found,
        cited=tuple(_is_right(each, question, facts) for each in answered.citations),
        nowhere=sum(each.text is None for each in answered.citations) + len(answered.unknown_citations),
        gold_files=len(files & cited_files) / len(files) if files else None,
        gold_shown=_shown(question, answered) if files else None,
        is_absent=question.kind is Kind.ABSENT,
        has_words=bool(answered.answer.strip()),
    )


def _is_right(cited: Cited, question: Question, facts: Sequence[bool]) -> bool:
    """Return whether the lines are gold lines in part, or hold a fact that the answer states."""
    if cited.text is None:
        return False
    if any(cited.place.overlaps(gold) for gold in question.gold):
        return True
    said = (fact for fact, is_stated in zip(question.facts, facts, strict=True) if is_stated)
    return question.kind is not Kind.ABSENT and any(is_found(fact, cited.text) for fact in said)


def _shown(question: Question, answered: Answered) -> bool:
    return all(any(gold.overlaps(place) for place in answered.shown) for gold in question.gold)
