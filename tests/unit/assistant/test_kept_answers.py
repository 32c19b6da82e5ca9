import pytest

from coding_assistant.assistant.kept_answers import kept_events, kept_generation
from coding_assistant.contract import ErrorEvent, QueryResponse, TextEvent
from coding_assistant.domain import Answer, Turn
from support.kept import NOON, said

SESSION = "a" * 32


def turn(answer: Answer | None) -> Turn:
    return Turn("c" * 32, "b" * 32, 1, "Who pays?", NOON, answer=answer)


def test_a_kept_answer_is_told_from_its_beginning() -> None:
    events = kept_events(SESSION, turn(said("The customer.")), after=0)
    assert [event.name for event in events] == ["started", "sources", "text", "finished"]
    assert [event.id for event in events] == sorted({event.id for event in events})


@pytest.mark.parametrize("seen", [1, 3, 4, 5_000])
def test_whoever_saw_some_of_an_answer_gets_the_whole_of_it_and_then_nothing(seen: int) -> None:
    kept = turn(said("The customer."))
    (last,) = kept_events(SESSION, kept, after=seen)
    assert isinstance(last.data, QueryResponse)
    assert last.data.response == "The customer."
    assert seen < last.id == kept_generation(kept).last_event_id


def test_an_answer_whose_end_was_never_written_down_was_interrupted() -> None:
    assert kept_generation(turn(None)).state == "failed"
    events = kept_events(SESSION, turn(None), after=0)
    assert [event.data.text for event in events if isinstance(event.data, TextEvent)] == [""]
    assert isinstance(events[-1].data, ErrorEvent)
    assert "ended in the middle" in events[-1].data.detail
