"""Conversations: find, rename, pin, archive, delete, export."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from coding_assistant.contract import ConversationPatch, ConversationView, Name
from coding_assistant.web.dependencies import Assistant, ConversationId
from coding_assistant.web.openapi import EXPORTED, refusals

router = APIRouter(prefix="/chat", tags=["conversations"])

EXPORT_TYPES = {"md": "text/markdown", "json": "application/json"}


@router.get("/conversations", responses=refusals(404))
async def conversations(
    assistant: Assistant,
    project: Annotated[Name | None, Query(description="Only those about this project.")] = None,
    containing: Annotated[
        Name | None, Query(description="Only those whose title or messages hold it.")
    ] = None,
) -> list[ConversationView]:
    """Return conversations, the one used last first."""
    return await assistant.conversations(project=project, containing=containing)


@router.get("/conversation/{conversation_id}", responses=refusals(404))
async def conversation(conversation_id: ConversationId, assistant: Assistant) -> ConversationView:
    """Return a conversation without its messages."""
    return await assistant.conversation(conversation_id)


@router.patch("/conversation/{conversation_id}", responses=refusals(404))
async def change_conversation(
    conversation_id: ConversationId, patch: ConversationPatch, assistant: Assistant
) -> ConversationView:
    """Rename, pin or archive a conversation; what is not named stays."""
    return await assistant.change_conversation(conversation_id, patch)


@router.delete("/conversation/{conversation_id}", status_code=204, responses=refusals(404))
async def delete_conversation(conversation_id: ConversationId, assistant: Assistant) -> None:
    """Delete a conversation and all that belongs to it."""
    await assistant.delete_conversation(conversation_id)


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
