"""Answers that point at sources and say nothing."""

import pytest

from coding_assistant.chat.bare_answers import is_bare


@pytest.mark.parametrize(
    "answer",
    [
        "[3]",
        "[5] [6] [7] [8]",
        "[1, 2].",
        "1. [1]\n2. [2]",
        "[1] src/environment.py:1272-1304 (Template.render)\n[3] src/compiler.py:843-847",
        "The functions that run are:\n[1] src/a.py:12-30 (A.render)\n- [4] src/b.py:61-64",
        "src/a.py:12-30",
    ],
)
def test_numbers_and_titles_of_sources_say_nothing(answer: str) -> None:
    assert is_bare(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "5",
        "`main` [1]",
        "By 5 characters [1].",
        "It is decided in src/a.py:12-30 (A.render).",
        "The steps are:\n1. `load` reads it [1]\n2. `parse` cuts it [2]",
        "",
        "For example:",
        "```python\nitems[3]\n```",
    ],
)
def test_an_answer_with_a_word_of_its_own_stands(answer: str) -> None:
    assert not is_bare(answer)
