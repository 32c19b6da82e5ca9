from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest

from coding_assistant.chat.query import leans_back, search_text
from coding_assistant.domain import Answer, Chunk, Citation, CitationState, Finish, Source, Turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHUNK = Chunk(PurePosixPath("src/app.py"), 1, 2, "def run():\n    pass", "python", "App.run")
SOURCE = Source(1, CHUNK, CHUNK.digest)
ANSWER = Answer("By `run` [1].", Finish.COMPLETE, "m", NOW, (Citation(SOURCE, 1, 1, CitationState.VERIFIED),))
PAST = [Turn("a" * 32, "c" * 32, 1, "How is the server started?", NOW, (SOURCE,), ANSWER)]


@pytest.mark.parametrize(
    "question", ["and why is that?", "Who calls it?", "What about the async one?", "Why?", "shorter please"]
)
def test_a_question_that_points_back_takes_the_cited_names_along(question: str) -> None:
    text = search_text(question, PAST)

    assert text.startswith(question)
    assert "App.run" in text
    assert "server started" in text


@pytest.mark.parametrize(
    "question",
    [
        "Where is the session cookie signed?",
        "How does `Blueprint.register` work?",
        "What does parse_args return",
    ],
)
def test_a_question_of_its_own_is_searched_as_it_stands(question: str) -> None:
    assert search_text(question, PAST) == question


def test_the_first_question_has_nothing_to_lean_on() -> None:
    assert leans_back("and it?")
    assert search_text("and it?", []) == "and it?"
