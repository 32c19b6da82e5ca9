"""Ask, and look back at what was said."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Query

from coding_assistant.contract import (
    ChatContextResponse,
    ChatHistoryResponse,
    HistoryClearedResponse,
    IdempotencyKey,
    Identifier,
    PrefetchRequest,
    QueryRequest,
    QueryResponse,
)
from coding_assistant.web.dependencies import Assistant, OfConversation
from coding_assistant.web.openapi import ANSWER_STREAM, QUESTIONS, refusals
from coding_assistant.web.streaming import EventStream, stream_answer

router = APIRouter(prefix="/chat", tags=["chat"])


@router.post(
    "/query", response_model=QueryResponse, responses={200: ANSWER_STREAM, **refusals(404, 409, 503, 507)}
)
async def query(
    request: Annotated[QueryRequest, Body(openapi_examples=QUESTIONS)],
    assistant: Assistant,
    idempotency_key: Annotated[
        IdempotencyKey | None,
        Header(description="Names this request for a day: sent again, it is not asked twice."),
    ] = None,
) -> QueryResponse | EventStream:
    """Ask a question; with `stream`, the answer comes as server-sent events.

    An answer goes on, and is kept, when its reader leaves before it is finished.
    """
    if request.stream:
        return await stream_answer(assistant.ask(request, idempotency_key=idempotency_key or ""))
    return await assistant.query(request, idempotency_key=idempotency_key or "")


@router.post("/prefetch", status_code=202, responses=refusals(404))
async def prefetch(request: PrefetchRequest, assistant: Assistant) -> None:
    """Read ahead while a question is typed, if nobody else wants the model; the answer waits for nothing."""
    await assistant.prefetch(request)


@router.get("/history", responses=refusals(404))
async def history(
    conversation_id: OfConversation,
    assistant: Assistant,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many messages.")] = 50,
    before: Annotated[Identifier | None, Query(description="Only messages before this one.")] = None,
) -> ChatHistoryResponse:
    """Return the newest messages of a conversation, oldest first."""
    return await assistant.history(conversation_id, limit=limit, before=before)


@router.delete("/history", responses=refusals(404))
async def clear_history(
    assistant: Assistant,
    conversation_id: Annotated[
        Identifier | None, Query(description="The conversation to empty; none clears all of them.")
    ] = None,
) -> HistoryClearedResponse:
    """Remove the messages of one conversation, or everything; say how much that was."""
    return await assistant.clear_history(conversation_id)


@router.get("/context", responses=refusals(404))
async def context(conversation_id: OfConversation, assistant: Assistant) -> ChatContextResponse:
    """Return what a conversation holds, in numbers, and what its next question finds."""
    return await assistant.context(conversation_id)
