"""An assistant that gives one scripted answer, for tests of how the terminal shows it."""

# ruff: noqa: ARG002  -- what is not scripted takes what the protocol says

import os
import signal
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Literal, NoReturn

import anyio

from coding_assistant.contract import (
    ChatContextResponse,
    ChatHistoryResponse,
    ConversationPatch,
    ConversationView,
    EventData,
    FoundMessageView,
    HitView,
    IndexingEvent,
    IndexReport,
    ModelView,
    ProjectView,
    QueryRequest,
    QueryResponse,
    StreamEvent,
)
from coding_assistant.domain import SearchMode
from support import views


class AnsweringCalls:
    """``AssistantCalls`` of which only asking, cancelling and looking at conversations are scripted.

    Each conversation has an answer but those that are ``unanswered``, with an answer without a word.

    After its events it presses Ctrl-C so often, waits until it is cancelled and ends with ``after_cancel``.
    """

    def __init__(
        self,
        events: Sequence[EventData] = (),
        *,
        after_cancel: QueryResponse | None = None,
        presses: int = 0,
        conversations: Sequence[ConversationView] = (),
        unanswered: Collection[str] = (),
    ) -> None:
        self._events = events
        self._after_cancel = after_cancel
        self._presses = presses
        self._conversations = conversations
        self._unanswered = unanswered
        self._stopped = anyio.Event()
        self.cancelled: list[str] = []
        self.asked: list[QueryRequest] = []

    async def ask(self, request: QueryRequest) -> AsyncGenerator[StreamEvent, None]:
        self.asked.append(request)
        for number, data in enumerate(self._events, start=1):
            yield StreamEvent(id=number, data=data)
        for _ in range(self._presses):
            os.kill(os.getpid(), signal.SIGINT)
        if self._presses:
            await self._stopped.wait()
        if self._after_cancel is not None:
            yield StreamEvent(id=len(self._events) + 1, data=self._after_cancel)

    async def cancel(self, generation_id: str) -> None:
        self.cancelled.append(generation_id)
        self._stopped.set()

    async def conversations(
        self,
        *,
        project: str | None = None,
        containing: str | None = None,
        archived: bool | None = None,
        deleted: bool = False,
    ) -> list[ConversationView]:
        return list(self._conversations)

    async def conversation(self, conversation_id: str) -> ConversationView:
        return next(each for each in self._conversations if each.conversation_id == conversation_id)

    async def history(
        self, conversation_id: str, *, limit: int = 50, before: str | None = None
    ) -> ChatHistoryResponse:
        said = views.answer_message("" if conversation_id in self._unanswered else "Yes.")
        return ChatHistoryResponse(conversation_id=conversation_id, messages=[said], total_count=1)

    # --- Not scripted -------------------------------------------------------------------------

    async def add_project(self, root: str) -> ProjectView:
        _unscripted()

    async def projects(self) -> list[ProjectView]:
        _unscripted()

    def index(self, project: str) -> AsyncGenerator[IndexingEvent | IndexReport, None]:
        _unscripted()

    async def search(
        self, query: str, *, project: str, limit: int, mode: SearchMode = SearchMode.HYBRID
    ) -> list[HitView]:
        _unscripted()

    async def models(self) -> list[ModelView]:
        _unscripted()

    async def model(self, name: str) -> ModelView:
        _unscripted()

    async def load_model(self, name: str) -> ModelView:
        _unscripted()

    async def unload_model(self, name: str) -> ModelView:
        _unscripted()

    async def context(self, conversation_id: str) -> ChatContextResponse:
        _unscripted()

    async def change_conversation(self, conversation_id: str, patch: ConversationPatch) -> ConversationView:
        _unscripted()

    async def search_messages(self, query: str, *, limit: int = 20) -> list[FoundMessageView]:
        _unscripted()

    async def delete_conversation(self, conversation_id: str, *, permanently: bool = False) -> None:
        _unscripted()

    async def restore_conversation(self, conversation_id: str) -> ConversationView:
        _unscripted()

    async def import_conversation(self, document: bytes, *, as_copy: bool = False) -> ConversationView:
        _unscripted()

    async def export_conversation(self, conversation_id: str, *, form: Literal["md", "json"]) -> str:
        _unscripted()


def _unscripted() -> NoReturn:
    raise AssertionError("this call is not scripted")
