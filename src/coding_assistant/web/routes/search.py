"""Search without a model."""

from typing import Annotated

from fastapi import APIRouter, Query

from coding_assistant.contract import HitView, Name, SearchQuery
from coding_assistant.domain import SearchMode
from coding_assistant.web.dependencies import Assistant
from coding_assistant.web.openapi import refusals

router = APIRouter(tags=["search"])


@router.get("/search", responses=refusals(404, 503))
async def search(
    q: Annotated[SearchQuery, Query(description="What to look for: words, names, a sentence.")],
    assistant: Assistant,
    project: Annotated[
        Name | None, Query(description="The project's id or name; none takes the default one.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="At most so many results.")] = 10,
    mode: Annotated[
        SearchMode, Query(description="What finds: words, vectors, or both.")
    ] = SearchMode.HYBRID,
) -> list[HitView]:
    """Return the chunks that bear on the query, best first, from an index that is up to date."""
    return await assistant.search(q, project=project, limit=limit, mode=mode)
