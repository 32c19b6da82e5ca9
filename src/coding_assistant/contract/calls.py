"""The calls that a skin may make, wherever the assistant runs."""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from coding_assistant.contract.events import IndexingEvent, StreamEvent
from coding_assistant.contract.requests import ConversationPatch, QueryRequest
from coding_assistant.contract.responses import (
    ChatContextResponse,
    ChatHistoryResponse,
    ConversationView,
    FoundMessageView,
    HitView,
    IndexReport,
    ModelView,
    ProjectView,
)
from coding_assistant.domain import SearchMode


class AssistantCalls(Protocol):
    """What the terminal asks of the assistant: the one in its own process, or a running server."""

    def ask(self, request: QueryRequest) -> AsyncGenerator[StreamEvent, None]:
        """Ask; closing the generator leaves the answer going on, ``cancel`` stops it."""
        ...

    async def cancel(self, generation_id: str) -> None:
        """Stop an answer and keep what there is of it."""
        ...

    async def add_project(self, root: str) -> ProjectView:
        """Make a folder known and return it; the same folder is the same project."""
        ...

    async def projects(self) -> list[ProjectView]:
        """Return the known folders."""
        ...

    def index(self, project: str) -> AsyncGenerator[IndexingEvent | IndexReport, None]:
        """Bring the index up to date; the last event is the report."""
        ...

    async def search(
        self, query: str, *, project: str, limit: int, mode: SearchMode = SearchMode.HYBRID
    ) -> list[HitView]:
        """Return the chunks that bear on the query, best first, from an index that is up to date."""
        ...

    async def models(self) -> list[ModelView]:
        """Return the catalog, and what else is used; which of it is loaded."""
        ...

    async def model(self, name: str) -> ModelView:
        """Return one model, by its name in the catalog or a path; ``ModelUnknown`` with a suggestion."""
        ...

    async def load_model(self, name: str) -> ModelView:
        """Have a model ready for the next question, and return once it is; what nobody uses makes way."""
        ...

    async def unload_model(self, name: str) -> ModelView:
        """Give a model's memory back, what it has read saved; ``EngineBusy`` while it answers."""
        ...

    async def conversations(
        self,
        *,
        project: str | None = None,
        containing: str | None = None,
        archived: bool | None = None,
        deleted: bool = False,
    ) -> list[ConversationView]:
        """Return conversations, newest first; ``containing`` looks into titles and messages.

        ``archived`` keeps those that are, or are not; ``deleted`` asks for those in the trash alone.
        """
        ...

    async def search_messages(self, query: str, *, limit: int = 20) -> list[FoundMessageView]:
        """Return the messages that hold all words, the best first."""
        ...

    async def conversation(self, conversation_id: str) -> ConversationView:
        """Return one conversation."""
        ...

    async def history(
        self, conversation_id: str, *, limit: int = 50, before: str | None = None
    ) -> ChatHistoryResponse:
        """Return the newest messages (before a message, if named), oldest first."""
        ...

    async def context(self, conversation_id: str) -> ChatContextResponse:
        """Return what the conversation holds, in numbers."""
        ...

    async def change_conversation(self, conversation_id: str, patch: ConversationPatch) -> ConversationView:
        """Rename, pin, archive, or choose the model to go on with."""
        ...

    async def delete_conversation(self, conversation_id: str, *, permanently: bool = False) -> None:
        """Delete a conversation; unless ``permanently``, it can be restored for 30 days."""
        ...

    async def restore_conversation(self, conversation_id: str) -> ConversationView:
        """Undo a deletion."""
        ...

    async def export_conversation(self, conversation_id: str, *, form: Literal["md", "json"]) -> str:
        """Return the whole conversation as Markdown or JSON."""
        ...

    async def import_conversation(self, document: bytes, *, as_copy: bool = False) -> ConversationView:
        """Keep a conversation that was exported as JSON.

        Raises ``AlreadyImported`` for one that is here, unless it is to be kept ``as_copy``.
        """
        ...
