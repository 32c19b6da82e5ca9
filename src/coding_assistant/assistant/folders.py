"""Indexing and searching one folder, in the contract's words."""

import math
from collections.abc import AsyncGenerator

import anyio

from coding_assistant import contract
from coding_assistant.chat.project_code import ProjectCode

MAX_QUERY_CHARACTERS = 2_000


async def index_folder(
    code: ProjectCode, name: str
) -> AsyncGenerator[contract.IndexingEvent | contract.IndexReport, None]:
    """Bring a folder's index up to date; the last event is the report."""
    send, receive = anyio.create_memory_object_stream[contract.IndexingEvent | contract.IndexReport](
        max_buffer_size=math.inf
    )

    async def work() -> None:
        with send:
            stats = await code.refresh(
                lambda done, total: send.send_nowait(contract.IndexingEvent(done=done, total=total))
            )
            send.send_nowait(contract.IndexReport.of(name, stats))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        with receive:
            async for event in receive:
                yield event
        tasks.cancel_scope.cancel()


async def search_folder(code: ProjectCode, query: str, *, limit: int) -> list[contract.HitView]:
    """Bring a folder's index up to date and return the chunks that bear on the query, best first."""
    text = contract.normalise_text(query, what="query", limit=MAX_QUERY_CHARACTERS)
    await code.refresh(lambda _done, _total: None)
    return [contract.HitView.of(hit) for hit in await code.search(text, limit=limit)]
