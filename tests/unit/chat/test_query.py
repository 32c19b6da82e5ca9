from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.query import MOST_NAMES, SearchText, in_conversation, leans_back
from coding_assistant.domain import Answer, Chunk, Citation, CitationState, Finish, Source, Turn
from coding_assistant.index.uses import uses_asked

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def turn(question: str, *symbols: str | None, number: int = 1) -> Turn:
    """Return a turn whose answer cites a chunk of each symbol; None for a chunk that defines nothing."""
    chunks = [
        Chunk(PurePosixPath("src/app.py"), line, line, f"line {line}", "python", symbol)
        for line, symbol in enumerate(symbols, start=1)
    ]
    sources = tuple(Source(place, chunk, chunk.digest) for place, chunk in enumerate(chunks, start=1))
    citations = tuple(Citation(source, 1, 1, CitationState.VERIFIED) for source in sources)
    answer = Answer("", Finish.COMPLETE, "m", NOW, citations)
    return Turn(f"{number:032}", "c" * 32, number, question, NOW, sources, answer)


SERVER = turn("How is the server started?", "App.run")
COOKIE = turn("Where is the session cookie signed?", "Signer.sign", number=2)


@pytest.mark.parametrize(
    "question",
    [
        "and why is that?",
        "Why?",
        "And pongs?",
        "And one without?",
        "The same for POST?",
        "What about the async one?",
        "And if the file is missing?",
        "If it is missing?",
        "Who sets it?",
        "Where is that limit set by default?",
        "How do I switch that off?",
        "Does this also apply to subclasses?",
        "Okay, and what about nested ones?",
        "So it never returns null?",
        "And how does super get into it?",
        "Going back to lazy files: who closes them?",
        "You said the value a view returns is converted: what if it is None?",
    ],
)
def test_a_question_leans_that_says_too_little_by_itself(question: str) -> None:
    assert leans_back(question)


@pytest.mark.parametrize(
    "question",
    [
        "Where is the session cookie signed?",
        "How does `Blueprint.register` work?",
        "What does parse_args return",
        "cookie handling",
        "Now show how the HTTP server handles timeouts",
        "And how does the development server choose its port?",
        "Then how does url_for build links when there is no request?",
        "But how does the printer write a comment that has several lines in it?",
        "Where is it decided whether an argument such as -5 is taken as an option?",
        "Does the client retry requests when the server closes their connection?",
        "If a second report is written to disk beside the normal output, what is the file called?",
    ],
)
def test_a_question_stands_alone_that_names_what_it_points_at(question: str) -> None:
    assert not leans_back(question)
    assert in_conversation(question, [SERVER]) == SearchText(question)


def test_the_first_question_has_nothing_to_lean_on() -> None:
    assert leans_back("and it?")
    assert in_conversation("and it?", []) == SearchText("and it?")


def test_what_was_asked_and_cited_helps_to_find_what_a_question_means() -> None:
    text = in_conversation("What about the async one?", [COOKIE, SERVER])

    assert text == SearchText("What about the async one?", "How is the server started? App.run")


def test_an_answer_without_citations_is_known_by_what_was_found() -> None:
    found = replace(SERVER, answer=None)

    assert "App.run" in in_conversation("What about the async one?", [found]).context


def test_what_defines_nothing_is_known_by_its_file() -> None:
    assert in_conversation("And why?", [turn("What is set up?", None)]).context == "What is set up? app"


def test_of_many_citations_a_few_are_named_each_once() -> None:
    cited = turn("Which are there?", "f0", "f0", *(f"f{number}" for number in range(1, 20)))

    assert in_conversation("And why?", [cited]).context.split()[3:] == [f"f{n}" for n in range(MOST_NAMES)]


@pytest.mark.parametrize(
    "question",
    ["And the cookie: is it renewed?", "Earlier, the cookie: is it renewed?", "Back to signing: why?"],
)
def test_an_earlier_turn_is_meant_when_the_question_shares_its_words(question: str) -> None:
    assert "Signer.sign" in in_conversation(question, [COOKIE, SERVER]).context


def test_who_points_back_does_not_mean_the_last_turn() -> None:
    """Both turns share a word with the question."""
    past = [turn("How are templates compiled?", "compile_path"), turn("How are headers compiled?", "match")]

    assert "compile_path" in in_conversation("From before: why are they compiled?", past).context
    assert "match" in in_conversation("And why are they compiled?", past).context


@pytest.mark.parametrize(
    "question",
    [
        "Who calls it?",
        "And who calls that?",
        "And what calls that function?",
        "Which actions use it?",
        "And when is that called?",
        "Where else is it used?",
        "What uses this?",
    ],
)
def test_a_question_for_the_uses_of_it_names_it(question: str) -> None:
    text = in_conversation(question, [SERVER])
    asked = uses_asked(text.question)

    assert asked
    assert asked.name == "run"
    assert not text.context


def test_what_extends_it_is_asked_by_name() -> None:
    asked = uses_asked(
        in_conversation("And which classes extend it?", [turn("What is it?", "Node")]).question
    )

    assert asked
    assert (asked.name, asked.heirs) == ("Node", True)


def test_it_is_the_cited_symbol_that_the_question_before_named() -> None:
    past = [turn("What does `load_all` do?", "Loader.load_one", "Loader.load_all")]

    assert in_conversation("Who calls it?", past).question == "Who calls `load_all`?"


@pytest.mark.parametrize(
    "question", ["Where is that limit set by default?", "Who calls `stop`?", "Where is it written back?"]
)
def test_other_questions_keep_their_words(question: str) -> None:
    assert in_conversation(question, [SERVER]).question == question


def test_what_was_cited_may_define_nothing_that_could_be_called() -> None:
    text = in_conversation("Who calls it?", [turn("What is set up?", None)])

    assert text == SearchText("Who calls it?", "What is set up? app")


@given(st.text(max_size=200), st.text(max_size=80), st.none() | st.text(max_size=30))
def test_any_question_can_follow_any(question: str, before: str, symbol: str | None) -> None:
    text = in_conversation(question, [turn(before, symbol)])

    assert text.question == question or uses_asked(text.question)
