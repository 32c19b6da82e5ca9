import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.rewording import asks_to_reword


@pytest.mark.parametrize(
    "message",
    [
        "shorter",
        "Shorter, please.",
        "make it shorter",
        "and a bit shorter?",
        "Say it in five words",
        "In one sentence.",
        "Explain that in simple terms, please",
        "in French",
        "Can you say that in German?",
        "translate your answer into Japanese",
        "As a table",
        "Could you give me that as a numbered list?",
        "shorter and in Spanish",
        "explain it like I'm five",
        "Summarise that.",
        "rephrase",
        "say it again",
        "Why?",
        "How so?",
        "Thanks!",
        "Say that again in one sentence.",
        "Sum up in three sentences what we have found so far.",
        "recap our conversation",
        "ok",
        "tl;dr",
    ],
)
def test_a_message_that_asks_for_nothing_new(message: str) -> None:
    assert asks_to_reword(message)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "and who calls it?",
        "and why is that?",
        "and why is that limit so low?",
        "Are you sure?",
        "simplify this",
        "summarise everything in a few sentences",
        "Why is the cookie signed?",
        "Explain it.",
        "Explain the session in one sentence",
        "Which functions return it as a list?",
        "Is it sorted in French?",
        "in Go",
        "What about the shorter one?",
        "Where is `shorten` called?",
        "shorter timeouts",
        "Give me the table",
        "again, where is it set?",
    ],
)
def test_a_message_that_asks_for_something_else(message: str) -> None:
    assert not asks_to_reword(message)


@given(name=st.from_regex(r"[a-z]{2,8}_[a-z]{2,8}", fullmatch=True))
def test_who_names_something_asks_about_it(name: str) -> None:
    assert not asks_to_reword(f"shorter {name}")
    assert not asks_to_reword(f"explain {name} in one sentence")


@given(message=st.text(alphabet="shorter in french, please why? \n", max_size=400))
def test_no_message_takes_long_to_tell(message: str) -> None:
    asks_to_reword(message)
