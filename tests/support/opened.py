"""The assistant on a scripted engine, with one project that it knows."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.settings import Settings
from support.scripted_engine import ScriptedEngine, only

Opener: TypeAlias = Callable[[ScriptedEngine], AbstractAsyncContextManager[AsyncAssistant]]


def opener(settings: Settings, project: Path) -> Opener:
    """Return what opens the assistant on an engine, again and again on the same data."""

    @asynccontextmanager
    async def open_with(engine: ScriptedEngine) -> AsyncIterator[AsyncAssistant]:
        async with AsyncAssistant.open(settings, make_engine=only(engine)) as assistant:
            await assistant.add_project(str(project))
            yield assistant

    return open_with
