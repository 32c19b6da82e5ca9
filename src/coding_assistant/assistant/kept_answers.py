"""Answers that nobody makes any more, told as those are that are being made: from what is kept of them."""

from collections.abc import Mapping
from types import MappingProxyType

from coding_assistant import contract
from coding_assistant.chat.generation import GenerationState
from coding_assistant.domain import (
    Answer,
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    AnswerStarted,
    Finish,
    SourcesFound,
    TextDelta,
    Turn,
)
from coding_assistant.errors import EngineFailed

_STATES: Mapping[Finish, GenerationState] = MappingProxyType(
    {Finish.CANCELLED: "cancelled", Finish.FAILED: "failed"}
)


def kept_events(session_id: str, turn: Turn, *, after: int) -> list[contract.StreamEvent]:
    """Return an answer's events, from what is kept of it.

    Whoever has seen some of those that there were gets only the last, which holds the whole answer.
    """
    answer = _answer(turn)
    events: list[AnswerEvent] = [
        AnswerStarted(session_id, turn, answer.model),
        SourcesFound(turn.sources),
        TextDelta(answer.text),
        _last_event(session_id, turn, answer),
    ]
    numbered = [
        contract.StreamEvent(id=number, data=contract.event_data(event))
        for number, event in enumerate(events, start=1)
    ]
    if not after:
        return numbered
    return [numbered[-1].model_copy(update={"id": after + 1})]


def kept_generation(turn: Turn) -> contract.GenerationView:
    """Return how an answer that is kept ended."""
    return contract.GenerationView(
        generation_id=turn.id,
        conversation_id=turn.conversation_id,
        message_id=contract.answer_message_id(turn.id),
        state=_STATES.get(_answer(turn).finish, "finished"),
        last_event_id=0,
    )


def _last_event(session_id: str, turn: Turn, answer: Answer) -> AnswerEvent:
    if answer.finish is Finish.FAILED:
        return AnswerFailed(EngineFailed.code, answer.failure, "Ask again, as a new question.")
    return AnswerFinished(session_id, turn)


def _answer(turn: Turn) -> Answer:
    """Return the answer; one of a turn that nobody works on is there, or the start would have ended it."""
    if turn.answer is None:
        raise AssertionError(f"turn {turn.id} has neither an answer nor anybody who makes one")
    return turn.answer
