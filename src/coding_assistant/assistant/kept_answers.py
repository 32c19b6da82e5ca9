"""Answers that nobody makes any more, told as those are that are being made: from what is kept of them."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

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
    {Finish.CANCELLED: "cancelled", Finish.FAILED: "failed", Finish.INTERRUPTED: "failed"}
)


LAST_EVENT_ID: Final = 2**31 - 1
"""The number of a kept answer's last event. How many events it had is not kept, but never so many: a reader
who saw some of those finds that there is more, and one who saw this finds that there is not."""


def kept_events(session_id: str, turn: Turn, *, after: int) -> list[contract.StreamEvent]:
    """Return an answer's events, from what is kept of it.

    Whoever has seen some of those that there were gets only the last, which holds the whole answer.
    """
    turn, answer = _answered(turn)
    events: list[AnswerEvent] = [
        AnswerStarted(session_id, turn, answer.model),
        SourcesFound(turn.sources),
        TextDelta(answer.text),
    ]
    last = contract.StreamEvent(
        id=LAST_EVENT_ID, data=contract.event_data(_last_event(session_id, turn, answer))
    )
    if after:
        return [last]
    return [
        *(
            contract.StreamEvent(id=number, data=contract.event_data(event))
            for number, event in enumerate(events, start=1)
        ),
        last,
    ]


def kept_generation(turn: Turn) -> contract.GenerationView:
    """Return how an answer that is kept ended."""
    _, answer = _answered(turn)
    return contract.GenerationView(
        generation_id=turn.id,
        conversation_id=turn.conversation_id,
        message_id=contract.answer_message_id(turn.id),
        state=_STATES.get(answer.finish, "finished"),
        last_event_id=LAST_EVENT_ID,
    )


def _last_event(session_id: str, turn: Turn, answer: Answer) -> AnswerEvent:
    again = "Ask again, as a new question: under another key, if it has one."
    if answer.finish is Finish.FAILED:
        return AnswerFailed(EngineFailed.code, answer.failure, again)
    if answer.finish is Finish.INTERRUPTED:
        ended = "The program ended in the middle of this answer; what was written of it is kept."
        return AnswerFailed(EngineFailed.code, ended, again)
    return AnswerFinished(session_id, turn)


def _answered(turn: Turn) -> tuple[Turn, Answer]:
    """Return the turn with its answer; one that nobody works on and that has none was interrupted.

    A full disk may have kept its end from being written down; the next start does that.
    """
    answer = turn.answer or Answer("", Finish.INTERRUPTED, model="", finished_at=turn.asked_at)
    return replace(turn, answer=answer), answer
