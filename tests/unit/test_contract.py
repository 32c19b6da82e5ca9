from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coding_assistant import contract
from coding_assistant.domain import Chunk, ContextLine, Source
from coding_assistant.errors import CodingAssistantError, InvalidText, error_from


@pytest.mark.parametrize("text", ["", "   \n", "a\0b", "\ud800", "x" * 32_001])
def test_a_question_that_no_one_can_answer_is_refused(text: str) -> None:
    with pytest.raises((InvalidText, ValidationError)):
        contract.QueryRequest(query=text)


def test_text_is_normalised_once() -> None:
    assert contract.QueryRequest(query="  e\u0301? \n").query == "\u00e9?"


@pytest.mark.parametrize("field", ["sesion_id", "conversation", "modell"])
def test_a_misspelt_field_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        contract.QueryRequest.model_validate({"query": "why?", field: "x"})


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    try:
        once = contract.normalise_text(text, what="question", limit=100)
    except InvalidText:
        assert not text.strip()
        return
    assert contract.normalise_text(once, what="question", limit=100) == once


def test_every_event_has_its_own_name() -> None:
    assert len(set(contract.EVENT_TYPES.values())) == len(contract.EVENT_TYPES)


def test_an_error_survives_its_way_through_text() -> None:
    original = InvalidText("It is empty.", hint="Write one.")

    again = error_from(original.code, original.message, original.hint)

    assert type(again) is InvalidText
    assert (again.message, again.hint) == (original.message, original.hint)
    assert type(error_from("of-the-future", "m", "")) is CodingAssistantError


def test_a_source_shows_what_the_model_was_shown_beside_it() -> None:
    context = (ContextLine(2, "class Till:"),)
    chunk = Chunk(PurePosixPath("pay.py"), 5, 5, "def pay(self): ...", context=context)

    view = contract.SourceView.of(Source(1, chunk, chunk.digest))

    assert view.model_dump()["context"] == [{"line": 2, "text": "class Till:"}]
