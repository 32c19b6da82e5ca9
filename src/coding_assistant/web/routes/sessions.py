"""Sessions: sittings that hold conversations."""

from fastapi import APIRouter

from coding_assistant.contract import (
    ConversationView,
    HistoryClearedResponse,
    SessionClearRequest,
    SessionView,
)
from coding_assistant.web.dependencies import Assistant, SessionId
from coding_assistant.web.openapi import refusals

router = APIRouter(prefix="/chat", tags=["sessions"])


@router.get("/sessions")
async def sessions(assistant: Assistant) -> list[SessionView]:
    """Return all sessions, the one used last first."""
    return await assistant.sessions()


@router.post("/session/clear", responses=refusals(404))
async def clear_session(request: SessionClearRequest, assistant: Assistant) -> HistoryClearedResponse:
    """Remove a session with its conversations; say how much that was."""
    return await assistant.clear_session(request.session_id)


@router.get("/session/{session_id}", responses=refusals(404))
async def session(session_id: SessionId, assistant: Assistant) -> SessionView:
    """Return a session."""
    return await assistant.session(session_id)


@router.get("/session/{session_id}/conversations", responses=refusals(404))
async def session_conversations(session_id: SessionId, assistant: Assistant) -> list[ConversationView]:
    """Return the conversations of a session, the one used last first."""
    return await assistant.session_conversations(session_id)
