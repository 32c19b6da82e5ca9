from pathlib import Path

import pytest

from answers_bench.marks import is_found, stated
from answers_bench.questions import Kind, Question, chosen, read_questions, refusals

FILE = Path(__file__).parents[3] / "bench" / "answers" / "questions.jsonl"
QUESTIONS = read_questions([FILE])
INVENTED = (
    "You can use the `RedisStore` class, which is made for this: pass it when you create the object [1]."
)

by_id = pytest.mark.parametrize("question", QUESTIONS, ids=[question.id for question in QUESTIONS])


@by_id
def test_the_right_answer_states_every_fact(question: Question) -> None:
    assert all(stated(question.facts, question.answer))


@by_id
def test_no_fact_is_given_away_by_the_question(question: Question) -> None:
    assert not any(stated(question.facts, question.question))


@by_id
def test_only_what_exists_has_gold_lines(question: Question) -> None:
    assert bool(question.gold) is (question.kind is not Kind.ABSENT)


@pytest.mark.parametrize(
    "refusal",
    [
        "The sources do not mention a way to do that.",
        "I couldn\N{RIGHT SINGLE QUOTATION MARK}t find such a class in the sources.",
        "There is no such option [1].",
        "Based on the excerpts, `Retrying` does not have a parameter for this.",
        "That is not supported.",
    ],
)
def test_a_refusal_in_other_words_is_recognised(refusal: str) -> None:
    assert is_found(refusals(QUESTIONS), refusal)


def test_an_invented_thing_is_no_refusal() -> None:
    assert not is_found(refusals(QUESTIONS), INVENTED)


def test_the_right_answers_elsewhere_are_no_refusals() -> None:
    answers = [question.answer for question in QUESTIONS if question.kind is not Kind.ABSENT]
    assert not [answer for answer in answers if is_found(refusals(QUESTIONS), answer)]


def test_those_kept_back_are_asked_by_themselves() -> None:
    kept_back = chosen(QUESTIONS, kept_back=True)
    others = chosen(QUESTIONS)
    assert len(kept_back) + len(others) == len(QUESTIONS)
    assert not {each.package for each in kept_back} & {each.package for each in others}


def test_a_prefix_is_applied_before_the_limit() -> None:
    found = chosen(QUESTIONS, prefix="textwrap-", limit=2)
    assert [each.package for each in found] == ["textwrap", "textwrap"]


def test_an_id_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="tenacity-01"):
        read_questions([FILE, FILE])
