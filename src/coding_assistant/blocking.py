"""The Python API: blocking calls for scripts and notebooks.

    with Assistant.open(project="path/to/code") as assistant:
        answer = assistant.query(QueryRequest(query="Where is the timeout decided?"))

The assistant runs on an event loop in a thread of its own; every call here waits for it.
"""

import os
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from anyio.from_thread import BlockingPortal, start_blocking_portal

from coding_assistant import contract
from coding_assistant.assistant import AsyncAssistant
from coding_assistant.domain import SearchMode
from coding_assistant.settings import load_settings


class Assistant:
    """The assistant for one project. Made by ``open``."""

    def __init__(self, portal: BlockingPortal, assistant: AsyncAssistant, project_id: str) -> None:
        self._portal = portal
        self._assistant = assistant
        self._project_id = project_id

    @classmethod
    @contextmanager
    def open(
        cls, project: str | Path = ".", *, model: str | None = None, home: str | Path | None = None
    ) -> "Iterator[Assistant]":
        """Open the assistant for a folder, with settings from the environment and the settings file.

        The data directory belongs to this process until the block is left, and so does the model's memory.
        """
        settings = load_settings(os.environ, {"model_name": model, "home": home})
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(AsyncAssistant.open(settings, purpose="python")) as assistant,
        ):
            known = portal.call(assistant.add_project, str(project))
            yield cls(portal, assistant, known.id)

    def query(self, request: contract.QueryRequest) -> contract.QueryResponse:
        """Ask and return the whole answer; the question is about this project unless it says otherwise."""
        if request.project is None and request.conversation_id is None:
            request = request.model_copy(update={"project": self._project_id})
        return self._portal.call(self._assistant.query, request)

    def search(
        self, query: str, *, limit: int = 10, mode: SearchMode = SearchMode.HYBRID
    ) -> list[contract.HitView]:
        """Return the chunks that bear on a query, best first, from an index that is up to date."""
        return self._portal.call(self._search, query, limit, mode)

    def index(self) -> contract.IndexReport:
        """Bring the index up to date and say what was done."""
        return self._portal.call(self._index)

    def models(self) -> list[contract.ModelView]:
        """Return the models that can be chosen, and which of them are in memory."""
        return self._portal.call(self._assistant.models)

    def model(self, name: str) -> contract.ModelView:
        """Return one model, by its name in the catalog or a path; ``ModelUnknown`` with a suggestion."""
        return self._portal.call(self._assistant.model, name)

    def load_model(self, name: str) -> contract.ModelView:
        """Have a model ready for the next question, and return once it is."""
        return self._portal.call(self._assistant.load_model, name)

    def unload_model(self, name: str) -> contract.ModelView:
        """Give a model's memory back; what it has read of conversations is kept on disk."""
        return self._portal.call(self._assistant.unload_model, name)

    def choose_model(self, conversation_id: str, model: str | None) -> contract.ConversationView:
        """Have a conversation go on with a model; None: with the one that the settings name."""
        patch = contract.ConversationPatch(model=model)
        return self._portal.call(self._assistant.change_conversation, conversation_id, patch)

    async def _search(self, query: str, limit: int, mode: SearchMode) -> list[contract.HitView]:
        return await self._assistant.search(query, project=self._project_id, limit=limit, mode=mode)

    async def _index(self) -> contract.IndexReport:
        async with aclosing(self._assistant.index(self._project_id)) as events:
            async for event in events:
                if isinstance(event, contract.IndexReport):
                    return event
        raise AssertionError("an update of the index ends with its report")
