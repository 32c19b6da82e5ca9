"""Answers in the making: look, come back, cancel."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from coding_assistant.contract import GenerationView
from coding_assistant.web.dependencies import Assistant, GenerationId
from coding_assistant.web.openapi import ANSWER_EVENTS, refusals
from coding_assistant.web.streaming import stream_rest

router = APIRouter(prefix="/chat/generation", tags=["generations"])

MAX_EVENT_ID = 2**53
"""The largest integer that every JSON reader keeps exact."""


@router.get("/{generation_id}", responses=refusals(404))
async def generation(generation_id: GenerationId, assistant: Assistant) -> GenerationView:
    """Return the state of an answer."""
    return await assistant.generation(generation_id)


@router.delete("/{generation_id}", status_code=204, responses=refusals(404))
async def cancel(generation_id: GenerationId, assistant: Assistant) -> None:
    """Stop an answer and keep what there is of it."""
    await assistant.cancel(generation_id)


@router.get("/{generation_id}/events", response_class=Response, responses=ANSWER_EVENTS | refusals(404))
async def events(
    generation_id: GenerationId,
    assistant: Assistant,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_EVENT_ID)] = None,
    after: Annotated[int, Query(ge=0, le=MAX_EVENT_ID, description="The last event seen.")] = 0,
) -> Response:
    """Follow an answer, after the event that the header Last-Event-ID or else `after` names.

    204 means that nothing follows, and that an EventSource need not come back.
    """
    seen = after if last_event_id is None else last_event_id
    state = await assistant.generation(generation_id)
    if state.state != "running" and seen >= state.last_event_id:
        return Response(status_code=204)
    return stream_rest(assistant.follow(generation_id, after=seen))
