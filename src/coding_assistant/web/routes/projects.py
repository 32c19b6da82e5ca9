"""Projects: make folders known and index them."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header

from coding_assistant.contract import IndexReport, ProjectRequest, ProjectView
from coding_assistant.errors import InvalidProject
from coding_assistant.web.dependencies import Assistant, ProjectId
from coding_assistant.web.openapi import INDEX_STREAM, refusals
from coding_assistant.web.streaming import MEDIA_TYPE, EventStream, report_of, stream_index

router = APIRouter(prefix="/projects", tags=["projects"])


@router.get("")
async def projects(assistant: Assistant) -> list[ProjectView]:
    """Return the known folders."""
    return await assistant.projects()


@router.post("")
async def add_project(request: ProjectRequest, assistant: Assistant) -> ProjectView:
    """Make a folder of the server's machine known; the same folder is the same project."""
    if not Path(request.root).is_absolute():
        raise InvalidProject(
            f"The folder {request.root} is not named by an absolute path.",
            hint="The server's own working directory is not yours: send the whole path.",
        )
    return await assistant.add_project(request.root)


@router.get("/{project}", responses=refusals(404))
async def project(project: ProjectId, assistant: Assistant) -> ProjectView:
    """Return a project and the state of its index."""
    return await assistant.project(project)


@router.post(
    "/{project}/index", response_model=IndexReport, responses={200: INDEX_STREAM, **refusals(404, 507)}
)
async def index(
    project: ProjectId,
    assistant: Assistant,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> IndexReport | EventStream:
    """Bring the index up to date; with `Accept: text/event-stream`, progress comes as events."""
    known = await assistant.project(project)
    events = assistant.index(known.id)
    return stream_index(events) if MEDIA_TYPE in accept else await report_of(events)
