from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from answers_bench.marks import mark
from answers_bench.questions import Kind, Place, Question
from answers_bench.results import Answered, ArmName, Cited

FILE = PurePosixPath("src/limits.py")
GOLD = Place(FILE, 10, 20)
QUESTION = Question(
    id="limits-01",
    package="limits",
    version="1.0",
    language="python",
    kind=Kind.LOOKUP,
    question="How many, and what then?",
    facts=((r"\b32\b", "thirty-two"), ("TooMany",)),
    gold=(GOLD,),
    answer="32, then TooMany.",
)
ABSENT = replace(QUESTION, kind=Kind.ABSENT, facts=(("there is no",),), gold=())
REFUSALS = ("there is no", r"\bdon't know\b")
ANSWERED = Answered(arm=ArmName.OURS, id=QUESTION.id, commit="abc", answer="Thirty-two [1].")


def cited(start: int, end: int, *, text: str | None = "limit = 1", path: PurePosixPath = FILE) -> Cited:
    return Cited(Place(path, start, end), text)


def test_a_fact_is_stated_by_any_of_its_forms_whatever_the_case() -> None:
    assert mark(QUESTION, ANSWERED, REFUSALS).facts == (True, False)


def test_a_curly_apostrophe_is_read_as_a_straight_one() -> None:
    refused = replace(ANSWERED, answer="I don\N{RIGHT SINGLE QUOTATION MARK}t know.")
    assert mark(QUESTION, refused, REFUSALS).refused


@pytest.mark.parametrize(
    ("citation", "is_right"),
    [
        (cited(20, 30), True),
        (cited(21, 30), False),
        (cited(10, 20, path=PurePosixPath("limits.py")), False),
        (cited(50, 60, text="LIMIT = 32"), True),
        (cited(50, 60, text="raise TooMany"), False),  # a fact, but not one that the answer states
        (cited(10, 999, text=None), False),
    ],
)
def test_a_citation_is_right_for_its_lines_or_for_a_fact_that_the_answer_states(
    citation: Cited, *, is_right: bool
) -> None:
    marks = mark(QUESTION, replace(ANSWERED, citations=(citation,)), REFUSALS)
    assert marks.cited == (is_right,)


def test_lines_that_are_not_there_and_invented_numbers_are_citations_to_nothing() -> None:
    answered = replace(ANSWERED, citations=(cited(10, 999, text=None),), unknown_citations=(7,))
    assert mark(QUESTION, answered, REFUSALS).nowhere == 2


def test_a_refusal_beside_a_fact_is_still_an_answer() -> None:
    answered = replace(ANSWERED, answer="There is no limit but 32.")
    marks = mark(QUESTION, answered, REFUSALS)
    assert marks.refused
    assert marks.answers


def test_a_refusal_without_any_fact_is_no_answer() -> None:
    assert not mark(QUESTION, replace(ANSWERED, answer="I don't know."), REFUSALS).answers


def test_what_the_product_flags_is_no_answer_whatever_its_words() -> None:
    assert not mark(QUESTION, replace(ANSWERED, not_found=True), REFUSALS).answers


def test_an_absent_thing_is_recognised_by_its_own_fact_and_has_no_gold_to_find() -> None:
    marks = mark(ABSENT, replace(ANSWERED, answer="There is no such thing."), REFUSALS)
    assert marks.all_facts
    assert marks.gold_files is None
    assert marks.gold_shown is None


def test_gold_counts_as_shown_only_if_every_run_of_it_is_touched() -> None:
    two = replace(QUESTION, gold=(GOLD, Place(FILE, 40, 45)))
    one_shown = replace(ANSWERED, shown=(Place(FILE, 1, 10),))
    both_shown = replace(ANSWERED, shown=(Place(FILE, 1, 10), Place(FILE, 45, 50)))
    assert mark(two, one_shown, REFUSALS).gold_shown is False
    assert mark(two, both_shown, REFUSALS).gold_shown is True
