from pathlib import PurePosixPath

import pytest

from coding_assistant.chat import work_kinds
from coding_assistant.chat.work_kinds import work_note
from coding_assistant.domain import Chunk, ChunkKind

DIFF = "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x\n+y"
TRACE = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\nValueError: x'


def given(text: str) -> list[Chunk]:
    return [Chunk(PurePosixPath("standard input"), 1, text.count("\n") + 1, text, kind=ChunkKind.GIVEN)]


@pytest.mark.parametrize(
    ("question", "text", "told"),
    [
        ("Review this.", DIFF, work_kinds.REVIEW),
        ("Write a commit message", DIFF, work_kinds.COMMIT_MESSAGE),
        ("Why does this fail?", TRACE, work_kinds.TRACE),
        ("Write a unit test for gross_price", "", work_kinds.TEST),
        ("Please refactor `Till.take`", "", work_kinds.CODE),
    ],
)
def test_each_kind_of_work_is_told_how(question: str, text: str, told: str) -> None:
    assert work_note(question, given(text) if text else [], wants_diff=False).endswith(told)


@pytest.mark.parametrize(
    "question",
    [
        "Where are tests run?",
        "How do I write a test?",
        "What does fix_path change?",
        "Which file writes tests?",
    ],
)
def test_a_mere_question_is_told_nothing(question: str) -> None:
    assert work_note(question, [], wants_diff=False) == ""


def test_whoever_wants_a_diff_gets_code() -> None:
    assert work_note("Let it take a rate.", [], wants_diff=True) == work_kinds.CODE
