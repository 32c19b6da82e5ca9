"""The catalog of models."""

from fastapi import APIRouter

from coding_assistant.contract import ModelView
from coding_assistant.web.dependencies import Assistant

router = APIRouter(tags=["models"])


@router.get("/models")
async def models(assistant: Assistant) -> list[ModelView]:
    """Return the models that can be chosen by name, and which of them are here."""
    return await assistant.models()
