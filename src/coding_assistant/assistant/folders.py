"""Indexing and searching one folder, in the contract's words."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from coding_assistant import contract
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.domain import IndexStats

MAX_QUERY_CHARACTERS = 2_000


async def index_folder(
    code: ProjectCode, name: str
) -> AsyncGenerator[contract.IndexingEvent | contract.IndexReport, None]:
    """Bring a folder's index up to date; the last event is the report."""
    async with aclosing(code.updates()) as updates:
        async for step in updates:
            if isinstance(step, IndexStats):
                yield contract.IndexReport.of(name, step)
            else:
                yield contract.IndexingEvent(done=step.done, total=step.total)


async def search_folder(code: ProjectCode, query: str, *, limit: int) -> list[contract.HitView]:
    """Bring a folder's index up to date and return the chunks that bear on the query, best first."""
    text = contract.normalise_text(query, what="query", limit=MAX_QUERY_CHARACTERS)
    await code.refresh(lambda _done, _total: None)
    return [contract.HitView.of(hit) for hit in await code.search(text, limit=limit)]
