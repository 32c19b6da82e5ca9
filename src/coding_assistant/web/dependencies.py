"""What routes are given: the assistant, and the kinds of parameters that several of them take."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.contract import Identifier, ModelName, Name


async def _assistant(request: Request) -> AsyncAssistant:
    assistant: AsyncAssistant = request.app.state.assistant
    return assistant


Assistant = Annotated[AsyncAssistant, Depends(_assistant)]

ConversationId = Annotated[Identifier, Path(description="The conversation's id.")]
SessionId = Annotated[Identifier, Path(description="The session's id.")]
GenerationId = Annotated[Identifier, Path(description="The generation's id, of the event `started`.")]
ProjectId = Annotated[Name, Path(description="The project's id or name.")]
ModelOfPath = Annotated[ModelName, Path(description="The model's name in the catalog, or a path.")]
OfConversation = Annotated[Identifier, Query(alias="conversation_id", description="The conversation's id.")]
