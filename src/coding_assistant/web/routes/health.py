"""For whoever watches the server: whether it is there, and whether it would answer."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from coding_assistant.contract import ReadinessView
from coding_assistant.web.dependencies import Assistant

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The server is there."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """Answer, without looking at anything else."""
    return Health()


@router.get("/readyz", responses={503: {"model": ReadinessView, "description": "Not ready"}})
async def readyz(assistant: Assistant, response: Response) -> ReadinessView:
    """Say whether a question would be answered now, and what stands in the way."""
    readiness = await assistant.readiness()
    response.status_code = 200 if readiness.ready else 503
    return readiness
