import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.facts import asked, details, fact_sentences, sentences, statements


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
