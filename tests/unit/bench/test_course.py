from pathlib import Path

import pytest

from conversations_bench.course import After, course, read_conversations

BENCH = Path(__file__).parents[3] / "bench"
CONVERSATIONS = {"A": list("abcdef"), "B": list("ghi"), "C": list("jkl")}


def test_the_long_conversation_first_then_all_in_turn_then_the_restart() -> None:
    names = [step.name for step in course(CONVERSATIONS, turns=2, switches=2)]
    assert names == ["A1", "A2", "B1", "C1", "A3", "B2", "C2", "A4", "A5", "B3", "C3"]


def test_each_turn_asks_its_own_question() -> None:
    steps = course(CONVERSATIONS, turns=2, switches=2)
    assert {step.name: step.question for step in steps}["C2"] == "k"
    assert len({step.question for step in steps}) == len(steps)


def test_what_came_before_a_question_is_known() -> None:
    after = {step.name: step.after for step in course(CONVERSATIONS, turns=2, switches=2)}
    assert after["A1"] == after["B1"] == After.NOTHING
    assert after["A2"] is After.SAME
    assert after["A3"] is after["B2"] is After.OTHERS
    assert after["A5"] is after["C3"] is After.RESTART


def test_too_few_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="B needs 4 questions and has 3"):
        course(CONVERSATIONS, turns=1, switches=3)


def test_the_questions_that_are_kept_suffice_for_the_course() -> None:
    conversations = read_conversations(BENCH / "conversations" / "questions.json")
    assert len(conversations) == 4
    assert course(conversations, turns=10, switches=3)
