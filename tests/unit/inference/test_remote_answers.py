from collections.abc import Iterator

import pytest

from coding_assistant.domain import EngineEvent, Finish, GenerationEnded, PromptRead, TextPiece
from coding_assistant.inference.remote_answers import Chunk, RemoteWriting


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def piece(text: str) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}}]}


END: dict[str, object] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def events_of(*chunks: dict[str, object], prompt_tokens: int = 40) -> list[EngineEvent]:
    writing = RemoteWriting(prompt_tokens, clock=Clock())

    def all_events() -> Iterator[EngineEvent]:
        for chunk in chunks:
            yield from writing.events(Chunk.model_validate(chunk))
        yield from writing.ending()

    return list(all_events())


def test_without_the_servers_counts_ours_stand_in() -> None:
    events = events_of(piece("One"), piece(" two"), END)

    assert events[0] == PromptRead(40, 40, 0)
    assert events[-1] == GenerationEnded(Finish.COMPLETE, 0, 40, 2, 1.0, 1.0)


def test_the_servers_own_times_are_better_than_ours() -> None:
    timings = {"cache_n": 8, "prompt_n": 32, "prompt_ms": 1500.0, "predicted_n": 2, "predicted_ms": 250.0}
    end = events_of(piece("One"), END | {"timings": timings})[-1]

    assert isinstance(end, GenerationEnded)
    assert (end.reading_seconds, end.writing_seconds) == (1.5, 0.25)


def test_more_cached_than_read_is_not_believed() -> None:
    usage = {"prompt_tokens": 30, "prompt_tokens_details": {"cached_tokens": 99}}
    end = events_of(piece("One"), END | {"usage": usage})[-1]

    assert isinstance(end, GenerationEnded)
    assert (end.cached_tokens, end.new_tokens) == (30, 0)


def test_an_answer_without_words_was_read_all_the_same() -> None:
    events = events_of(END)

    assert events[0] == PromptRead(40, 40, 0)
    assert isinstance(events[1], GenerationEnded)


def test_a_second_choice_is_nobodys() -> None:
    both: dict[str, object] = {"choices": [{"delta": {"content": "One"}}, {"delta": {"content": "Other"}}]}

    assert [each.text for each in events_of(both, END) if isinstance(each, TextPiece)] == ["One"]


@pytest.mark.parametrize(
    "strange",
    [
        {"timings": {"prompt_n": 1}},
        {"timings": {"prompt_ms": float("nan"), "predicted_ms": 1.0}},
        {"usage": {"prompt_tokens": None, "completion_tokens": "many", "prompt_tokens_details": []}},
        {"usage": 3},
        {"prompt_progress": {"total": 3}},
        {"message": {"a": 1}, "object": 7},
    ],
)
def test_what_an_answer_can_do_without_costs_no_answer(strange: dict[str, object]) -> None:
    events = events_of(piece("One"), END | strange)

    assert TextPiece("One") in events
    assert events[-1] == GenerationEnded(Finish.COMPLETE, 0, 40, 1, 1.0, 1.0)


def test_times_without_counts_are_times() -> None:
    end = events_of(piece("One"), END | {"timings": {"prompt_ms": 1500.0, "predicted_ms": 250.0}})[-1]

    assert isinstance(end, GenerationEnded)
    assert (end.reading_seconds, end.writing_seconds) == (1.5, 0.25)


def test_text_that_comes_in_parts_is_one_piece() -> None:
    parts = [{"type": "text", "text": "It "}, {"type": "image"}, {"type": "text", "text": "is."}, 3]
    delta: dict[str, object] = {"choices": [{"delta": {"content": parts, "reasoning": []}}]}

    assert TextPiece("It is.") in events_of(delta, END)
