import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.facts import (
    asked,
    details,
    fact_sentences,
    sentences,
    stands_in,
    statements,
    without_counts,
)


@pytest.mark.parametrize(
    "sentence",
    [
        "Remember that deployments happen on Fridays.",
        "my port is 8123",
        "We use PostgreSQL 14 and no Redis.",
        "I'm working on the branch `billing-v2`.",
        "Please always answer with type hints.",
        "The staging host is called kestrel.",
        "Our release manager is Odile.",
        "Unser Testserver heißt Amsel und läuft auf 9041.",
    ],
)
def test_what_the_user_states_of_himself_and_the_project_is_a_fact(sentence: str) -> None:
    assert [each.text for each in statements(sentence) if each.is_fact] == [sentence]


@pytest.mark.parametrize(
    "sentence",
    [
        "Where is the port set?",
        "What is my port?",
        "Do we use Redis for this?",
        "explain how our retries work",
        "I want to know where the cache lives.",
        "Show me the class that we use for errors.",
        "Thanks a lot!",
        "    my_port = 8123",
        '  File "app.py", line 12, in main() -> {"a": [1]}',
    ],
)
def test_a_question_a_request_and_code_state_nothing(sentence: str) -> None:
    assert [each.text for each in statements(sentence) if each.is_fact] == []


def test_a_statement_inside_a_question_is_kept_with_it() -> None:
    question = "Since we use Python 3.9, can I write a match statement there?"

    assert [each.text for each in statements(question)] == [question]


def test_statements_stand_beside_the_question_that_they_lead_to() -> None:
    text = "Hello. We deploy with `nomad`, version 1.7. Where are the jobs defined?"

    assert [each.text for each in statements(text)] == ["We deploy with `nomad`, version 1.7."]
    assert asked(text) == "Where are the jobs defined?"


def test_facts_of_an_answer_are_its_sentences_with_details_and_without_marks() -> None:
    answer = (
        "The limit is set in `net/client.py` [2]. That is all there is to say about it.\n"
        "```python\nLIMIT = 5\n```\n"
        "- It defaults to 5 [1, 2] and is read once [9?]."
    )

    assert fact_sentences(answer) == [
        "The limit is set in `net/client.py`.",
        "It defaults to 5 and is read once.",
    ]


def test_details_are_what_cannot_be_put_in_other_words() -> None:
    text = (
        "`run()` of HttpClient waits 2.5 s for 10.0.0.7:8080, see docs/net.md, and says 'try again' to Odile."
    )

    assert details(text) == (
        "run()",
        "HttpClient",
        "2.5",
        "10.0.0.7:8080",
        "docs/net.md",
        "try again",
        "Odile",
    )


def test_a_number_keeps_its_sign_and_a_name_its_number() -> None:
    assert details("Of UTF-8 and `n` it takes -1, .5, 3-5 or 1e-5 at 12:30.") == (
        "UTF-8",
        "n",
        "-1",
        ".5",
        "3-5",
        "1e-5",
        "12:30",
    )


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ("30", "It takes 30."),
        ("30", "timeout=30, retries=2"),
        ("8123", "http://localhost:8123/"),
        ("-1", "default=-1)"),
        ("retries", "client.retries()"),
        ("client.py", "in net/client.py:10-20"),
        ("run()", "call `run()` first"),
        ("try again", "It says 'try again'."),
    ],
)
def test_a_detail_stands_in_a_text_as_a_whole(detail: str, text: str) -> None:
    assert stands_in(detail, text)


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ("30", "300 130 x30 30s 30.5 1.30 1,300 30:12 12:30 -30 30-40 10/30 v1.30"),
        ("-1", "-12 -1.5 3-1"),
        ("retry", "retry_limit max_retry retrying"),
        ("net/client.py", "client.py subnet/client.py net/client.pyi"),
        ("LIMIT", "limit"),
    ],
)
def test_a_detail_does_not_stand_in_what_only_contains_its_characters(detail: str, text: str) -> None:
    assert not stands_in(detail, text)


def test_what_only_counts_is_taken_out() -> None:
    text = "1. It is 5 [2].\n2) Then 7 [1, 3], and `items[4]` [9?]."

    assert without_counts(text) == "It is 5.\nThen 7, and `items[4]`."


def test_abbreviations_and_versions_end_no_sentence() -> None:
    text = "It reads files, e.g. settings.toml of version 3.11.2, at once. Then it stops there."

    assert list(sentences(text)) == [
        "It reads files, e.g. settings.toml of version 3.11.2, at once.",
        "Then it stops there.",
    ]


@given(st.text(max_size=400))
def test_any_text_has_sentences_that_stand_in_it(text: str) -> None:
    assert all(sentence in text for sentence in sentences(text))
    assert isinstance(asked(text), str)
