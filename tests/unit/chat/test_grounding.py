from pathlib import PurePosixPath

import pytest

from coding_assistant.chat.grounding import (
    MOST_NEAREST,
    GroundedQuestion,
    GroundingRules,
    is_to_be_taken_back,
    nearest,
    question_note,
    told_not_found,
)
from coding_assistant.domain import Chunk, Grounding, NamedPlace, Source

ALL = GroundingRules()
ASKED = GroundedQuestion("Which class keeps it in Redis?", ("Redis",), files=3, makes_new=False)
PLAIN = GroundedQuestion("Which class keeps it?", (), files=3, makes_new=False)
NEW = GroundedQuestion("Write a class for Redis.", ("Redis",), files=3, makes_new=True)
MADE_UP = Grounding(unverified_names=("made_up",))


def source(number: int, symbol: str | None, *, path: str = "app.py", line: int = 1) -> Source:
    chunk = Chunk(PurePosixPath(path), line, line, "x = 1", "python", symbol)
    return Source(number, chunk, chunk.digest)


@pytest.mark.parametrize(
    ("answer", "question", "rules", "is_taken_back"),
    [
        ("It is `made_up`.", PLAIN, ALL, True),
        ("It is `real_one`. See `real_two`, `made_up`.", PLAIN, ALL, False),
        ("It is `real_one`. See `real_two`, `made_up`.", ASKED, ALL, True),
        ("There is no class called `made_up` in the project.", PLAIN, ALL, False),
        ("It is `made_up`.", NEW, ALL, False),
        ("It is `made_up`.", PLAIN, GroundingRules(asks_again=False), False),
    ],
)
def test_an_answer_is_taken_back_for_its_point_alone(
    answer: str, question: GroundedQuestion, rules: GroundingRules, *, is_taken_back: bool
) -> None:
    assert is_to_be_taken_back(answer, MADE_UP, question, rules) is is_taken_back
    assert not is_to_be_taken_back(answer, Grounding(), question, rules)


def test_words_that_the_project_lacks_are_noted_unless_something_new_is_asked_for() -> None:
    assert '"Redis"' in question_note(ASKED, ALL)
    assert question_note(PLAIN, ALL) == ""
    assert question_note(NEW, ALL) == ""
    assert question_note(ASKED, GroundingRules(notes_lacking_words=False)) == ""


def test_a_refusal_is_told_with_what_was_searched() -> None:
    told = told_not_found(MADE_UP, "The sources do not mention it.", ASKED, ALL, [source(1, "App.run")])

    assert told.not_found
    assert told.unverified_names == ("made_up",)
    assert (told.searched_files, told.searched_words) == (3, ("class", "keeps", "redis"))
    assert told.nearest == (NamedPlace("App.run", PurePosixPath("app.py"), 1),)


def test_an_answer_and_a_rule_that_is_off_change_nothing() -> None:
    refusal, off = "The sources do not mention it.", GroundingRules(tells_not_found=False)

    assert told_not_found(MADE_UP, "It is `run` [1].", ASKED, ALL, []) == MADE_UP
    assert told_not_found(MADE_UP, refusal, ASKED, off, []) == MADE_UP
    assert told_not_found(MADE_UP, refusal, NEW, ALL, []) == MADE_UP


def test_the_nearest_are_the_best_sources_each_name_once() -> None:
    several = [source(1, "a", line=9), source(2, None), source(3, "a", line=20), source(4, "a", path="b.py")]

    assert [(each.name, each.line) for each in nearest(several)] == [("a", 9), ("app.py", 1), ("a", 1)]
    assert len(nearest([source(number, f"f{number}") for number in range(20)])) == MOST_NEAREST
