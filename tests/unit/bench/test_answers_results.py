from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from answers_bench.questions import Kind, Place, Question
from answers_bench.reading import as_text
from answers_bench.report import summary
from answers_bench.results import (
    Answered,
    ArmName,
    Cited,
    Conditions,
    OtherConditions,
    Results,
    begun_results,
    write_results,
)

CONDITIONS = Conditions("engine", "model", "3.11", 8_192, 256, 2, {"SLOTS": "1"})
GOLD = Place(PurePosixPath("a.py"), 1, 3)


def question(number: int, package: str = "one", kind: Kind = Kind.LOOKUP) -> Question:
    return Question(
        id=f"{package}-{number}",
        package=package,
        version="1",
        language="python",
        kind=kind,
        question="How many?",
        facts=(("none",),) if kind is Kind.ABSENT else (("seven",), ("apples",)),
        gold=() if kind is Kind.ABSENT else (GOLD,),
        answer="None." if kind is Kind.ABSENT else "Seven apples.",
    )


def answered(asked: Question, arm: ArmName, answer: str) -> Answered:
    return Answered(
        arm=arm,
        id=asked.id,
        commit="abc",
        answer=answer,
        shown=(GOLD,),
        citations=(Cited(GOLD, "seven"),),
        prompt_tokens=100,
        first_token_seconds=1.0,
        total_seconds=2.0,
    )


def results() -> Results:
    asked = [question(1), question(2, "two"), question(3, kind=Kind.ABSENT)]
    made = Results(CONDITIONS, refusals=("none",))
    made.ask_about(asked)
    for each in asked:
        made.add(answered(each, ArmName.GOLD_PLAIN, "Seven pears."))
        made.add(answered(each, ArmName.OURS, "Seven apples, or none."))
    return made


def row(text: str, title: str, *, after: str) -> list[str]:
    lines = text[text.index(f"### {after}") :].splitlines()
    line = next(line for line in lines if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    write_results(results(), tmp_path / "results.json")
    assert begun_results(tmp_path / "results.json", CONDITIONS) == results()


def test_a_run_is_not_gone_on_with_under_other_conditions(tmp_path: Path) -> None:
    write_results(results(), tmp_path / "results.json")
    with pytest.raises(OtherConditions):
        begun_results(tmp_path / "results.json", replace(CONDITIONS, model="another"))


def test_only_what_has_no_answer_is_asked_and_a_failure_is_none() -> None:
    begun = results()
    begun.add(Answered(arm=ArmName.OURS, id="one-1", commit="abc", failure="busy"))
    left = begun.unanswered(ArmName.OURS, begun.questions.values())
    assert [each.id for each in left] == ["one-1"]
    begun.add(answered(question(1), ArmName.OURS, "Seven."))
    assert not begun.unanswered(ArmName.OURS, begun.questions.values())
    assert not begun.failures()


def test_absent_things_count_apart_from_the_facts() -> None:
    text = summary({"run": results()})
    plain, ours = row(text, "share of facts", after="Answers")
    assert (plain[:4], ours[:4]) == ("0.50", "1.00")
    assert row(text, "absent: recognised", after="Answers") == ["0 of 1 (0 %)", "1 of 1 (100 %)"]


def test_arms_are_compared_on_the_facts_of_the_gold_lines_with_the_plain_prompt() -> None:
    questions, ratio, difference = row(summary({"run": results()}), "ours", after="Against")
    assert (questions, ratio) == ("2", "2.00")
    assert difference == "+0.50 [+0.50, +0.50]"


def test_words_of_a_refusal_beside_the_facts_are_told_but_are_no_false_refusal() -> None:
    text = summary({"run": results()})
    assert row(text, "elsewhere: words of a refusal", after="Answers")[1] == "2 of 2 (100 %)"
    assert row(text, "elsewhere: refused and no fact", after="Answers")[1] == "0 of 2 (0 %)"


def test_runs_stand_side_by_side_under_their_names() -> None:
    text = summary({"old": results(), "new": results()})
    assert "ours · old" in text
    assert "ours · new" in text


def test_a_person_reads_what_was_missed() -> None:
    (text,) = as_text(results(), prefix="one-1", arm=ArmName.GOLD_PLAIN)
    assert "Expected: Seven apples." in text
    assert "1 of 2 facts; missed /apples/" in text
    assert "cited a.py:1-3: right" in text
