"""Conversations: find, rename, pin, archive, delete, restore, export, import."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from coding_assistant.contract import (
    ConversationPatch,
    ConversationView,
    FoundMessageView,
    Name,
    SearchQuery,
)
from coding_assistant.web.dependencies import Assistant, ConversationId
from coding_assistant.web.openapi import EXPORTED, IMPORTED, refusals

router = APIRouter(prefix="/chat", tags=["conversations"])

IMPORT_PATH = "/chat/import"
"""Where a body may be longer than elsewhere."""

EXPORT_TYPES = {"md": "text/markdown", "json": "application/json"}


@router.get("/conversations", responses=refusals(404))
async def conversations(
    *,
    assistant: Assistant,
    project: Annotated[Name | None, Query(description="Only those about this project.")] = None,
    containing: Annotated[
        Name | None, Query(description="Only those whose title or messages hold it.")
    ] = None,
    archived: Annotated[
        bool | None, Query(description="Only those that are archived, or that are not; none takes both.")
    ] = None,
    deleted: Annotated[
        bool, Query(description="Those in the trash, the last deleted first, and no others.")
    ] = False,
) -> list[ConversationView]:
    """Return conversations, pinned ones first, then the one used last."""
    return await assistant.conversations(
        project=project, containing=containing, archived=archived, deleted=deleted
    )


@router.get("/search")
async def search_messages(
    q: Annotated[SearchQuery, Query(description="Words; each stands for all that begin with it.")],
    assistant: Assistant,
    limit: Annotated[int, Query(ge=1, le=100, description="At most so many results.")] = 20,
) -> list[FoundMessageView]:
    """Return the messages that hold all words, in any case and with or without accents, the best first."""
    return await assistant.search_messages(q, limit=limit)


@router.post("/import", responses=refusals(409, 507), openapi_extra=IMPORTED)
async def import_conversation(
    *,
    request: Request,
    assistant: Assistant,
    copy: Annotated[
        bool, Query(description="Keep it under a new id if it is here already; otherwise that is a 409.")
    ] = False,
) -> ConversationView:
    """Keep a conversation that was exported as JSON, under its own ids where they are free."""
    return await assistant.import_conversation(await request.body(), as_copy=copy)


@router.get("/conversation/{conversation_id}", responses=refusals(404))
async def conversation(conversation_id: ConversationId, assistant: Assistant) -> ConversationView:
    """Return a conversation without its messages."""
    return await assistant.conversation(conversation_id)


@router.patch("/conversation/{conversation_id}", responses=refusals(404))
async def change_conversation(
    conversation_id: ConversationId, patch: ConversationPatch, assistant: Assistant
) -> ConversationView:
    """Rename, pin or archive a conversation, or choose its model; what is not named stays."""
    return await assistant.change_conversation(conversation_id, patch)


@router.delete("/conversation/{conversation_id}", status_code=204, responses=refusals(404))
async def delete_conversation(
    *,
    conversation_id: ConversationId,
    assistant: Assistant,
    permanently: Annotated[
        bool, Query(description="Erase it at once, also from the trash; it cannot be restored.")
    ] = False,
) -> None:
    """Delete a conversation. For 30 days it can be restored; until then nothing else shows it."""
    await assistant.delete_conversation(conversation_id, permanently=permanently)


@router.post("/conversation/{conversation_id}/restore", responses=refusals(404))
async def restore_conversation(conversation_id: ConversationId, assistant: Assistant) -> ConversationView:
    """Undo a deletion; a conversation that is not deleted stays as it is."""
    return await assistant.restore_conversation(conversation_id)


@router.get(
    "/conversation/{conversation_id}/export",
    response_class=Response,
    responses={200: EXPORTED, **refusals(404)},
)
async def export_conversation(
    conversation_id: ConversationId,
    assistant: Assistant,
    form: Annotated[Literal["md", "json"], Query(alias="format")] = "md",
) -> Response:
    """Return a whole conversation as a file: Markdown or JSON."""
    text = await assistant.export_conversation(conversation_id, form=form)
    named = {"content-disposition": f'attachment; filename="conversation-{conversation_id}.{form}"'}
    return Response(text, media_type=EXPORT_TYPES[form], headers=named)
