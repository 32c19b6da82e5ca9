import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coding_assistant.chat.title import LONGEST_TITLE, NEW_TITLE, title_from


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Where is the session cookie signed?", "Where is the session cookie signed?"),
        ("Who? Me.", "Who?"),
        ("Is it x ? y : z here", "Is it x ? y : z here"),
        ("I read main.py. It fails! Why?", "I read main.py."),
        ("Where is it signed? And who checks it?", "Where is it signed?"),
        ("Why does\tthis   fail?\nTraceback follows", "Why does this fail?"),
        ("\n\n  Explain this.\n", "Explain this."),
        ("## What does `Flask.run` do?", "What does Flask.run do?"),
        ("> - **Where** is ***it***?", "Where is it?"),
        ("1. What is `__init__` for?", "What is __init__ for?"),
        ("See [the docs](https://example.org/a) on load_env", "See the docs on load_env"),
        ("```python\ndef f(): ...\n```\nWhat is wrong here?", "def f(): ..."),
        ("E.g. what is g(x)?", "E.g. what is g(x)?"),
        ("What is in src/app.py? I saw v1.2", "What is in src/app.py?"),
        ("Wo wird das entschieden und warum", "Wo wird das entschieden und warum"),
        ("这个函数做什么?", "这个函数做什么?"),
        ("a * b * c or snake_case", "a * b * c or snake_case"),
        ("??? ---", NEW_TITLE),
        ("```\n```", NEW_TITLE),
    ],
)
def test_the_first_sentence_becomes_the_title(question: str, title: str) -> None:
    assert title_from(question) == title


def test_a_long_sentence_is_cut_at_a_word() -> None:
    question = (
        "How does the request context find out which application it belongs to when several are nested?"
    )
    assert title_from(question) == "How does the request context find out which application it…"


@example("x" * 60)
@example("x" * 61)
@example("word " * 12 + "x")
@example("a " + "x" * 100)
@given(st.text())
def test_a_title_is_one_short_line_with_something_in_it(question: str) -> None:
    title = title_from(question)
    assert 1 <= len(title) <= LONGEST_TITLE
    assert title == " ".join(title.split())
    assert "`" not in title
