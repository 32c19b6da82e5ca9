"""Indexing and searching one folder, in the contract's words."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio

from coding_assistant import contract
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.domain import IndexStats, Project, SearchMode
from coding_assistant.errors import InvalidProject
from coding_assistant.project.walk import open_root

LOOK_SECONDS = 0.1


def require_folder(project: Project) -> None:
    """Raise ``InvalidProject`` for a project without a folder here: one of an import may have none."""
    try:
        open_root(project.root)
    except InvalidProject as error:
        raise InvalidProject(
            f"{project.name} cannot be asked about here: {error.message}",
            hint="What was said about it can be read. Put the folder there, or ask about another project.",
        ) from error


async def index_folder(
    code: ProjectCode, name: str
) -> AsyncGenerator[contract.IndexingEvent | contract.IndexReport, None]:
    """Bring a folder's index up to date; the last event is the report."""
    async with aclosing(code.updates()) as updates:
        async for step in updates:
            if isinstance(step, IndexStats):
                yield contract.IndexReport.of(name, step)
            else:
                yield contract.IndexingEvent.of(step)


async def next_change(code: ProjectCode) -> AsyncGenerator[None, None]:
    """Yield once, as soon as a folder that is watched has changed."""
    while not code.is_due:  # noqa: ASYNC110  -- it is told by a thread that knows no event loop
        await anyio.sleep(LOOK_SECONDS)
    await anyio.sleep(LOOK_SECONDS)  # changes that follow each other as quickly are one
    yield


async def search_folder(
    code: ProjectCode, query: str, *, limit: int, mode: SearchMode
) -> list[contract.HitView]:
    """Bring a folder's index up to date and return the chunks that bear on the query, best first."""
    text = contract.normalise_query(query)
    await code.refresh(lambda _progress: None)
    return [contract.HitView.of(hit) for hit in await code.search(text, limit=limit, mode=mode)]
