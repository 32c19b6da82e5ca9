"""Models: which there are, and which are in memory."""

from fastapi import APIRouter

from coding_assistant.contract import ModelView
from coding_assistant.web.dependencies import Assistant, ModelOfPath
from coding_assistant.web.openapi import refusals

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
async def models(assistant: Assistant) -> list[ModelView]:
    """Return the models that can be chosen by name and the files that are used, and what is in memory."""
    return await assistant.models()


@router.post("/{name:path}/load", responses=refusals(404, 503))
async def load_model(name: ModelOfPath, assistant: Assistant) -> ModelView:
    """Have a model ready for the next question, and answer once it is.

    What nobody uses is unloaded where memory is short; for a model that answers, this waits. Sent again while
    it loads, it waits for the same load; for a loaded model it answers at once.
    """
    return await assistant.load_model(name)


@router.post("/{name:path}/unload", responses=refusals(404, 503))
async def unload_model(name: ModelOfPath, assistant: Assistant) -> ModelView:
    """Give a model's memory back; what it has read of conversations is saved. While it answers: 503."""
    return await assistant.unload_model(name)


@router.get("/{name:path}", responses=refusals(404, 503))
async def model(name: ModelOfPath, assistant: Assistant) -> ModelView:
    """Return one model, by its name in the catalog or a path."""
    return await assistant.model(name)
