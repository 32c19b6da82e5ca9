"""The assistant of a running server, with the calls of the one in this process.

It speaks HTTP and knows the contract, nothing below it. A stream that breaks is taken up again where it
broke; a wait ends when nothing has come for a while, however long the whole takes; a refusal arrives as
the exception that the server raised.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Literal, Self, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import uuid4

import anyio
import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from coding_assistant.contract import (
    EVENT_TYPES,
    ChatContextResponse,
    ChatHistoryResponse,
    ConversationPatch,
    ConversationView,
    ErrorEvent,
    EventData,
    FoundMessageView,
    HitView,
    IndexingEvent,
    IndexReport,
    ModelView,
    PrefetchRequest,
    ProjectRequest,
    ProjectView,
    QueryRequest,
    StartedEvent,
    StreamEvent,
)
from coding_assistant.domain import SearchMode
from coding_assistant.errors import CodingAssistantError, InvalidProject, NotReady, error_from

CONNECT_SECONDS = 5.0

SILENCE_SECONDS = 60.0
"""A server that works sends a sign of life every 15 seconds."""

CALL_SECONDS = 120.0
"""A call without a stream shows no progress; the longest is a search that first updates the index."""

LOAD_SECONDS = 3_600.0
"""A large model comes from a slow disk at 100 MB a second, after it has waited for the memory of another."""

RETRY_PAUSES_SECONDS = (0.2, 1.0, 3.0)
"""The waits before taking up a broken stream; any event that comes begins the count anew."""

T = TypeVar("T")
Parameters: TypeAlias = Mapping[str, str | int]

_CONVERSATIONS = TypeAdapter(list[ConversationView])
_FOUND_MESSAGES = TypeAdapter(list[FoundMessageView])
_HITS = TypeAdapter(list[HitView])
_MODELS = TypeAdapter(list[ModelView])
_PROJECTS = TypeAdapter(list[ProjectView])


class _Broken(Exception):
    """The connection ended before the stream did."""


class RemoteAssistant:
    """``contract.AssistantCalls`` over HTTP. An async context manager; ``url`` is as the server prints it."""

    def __init__(self, url: str, *, retry_pauses_seconds: Sequence[float] = RETRY_PAUSES_SECONDS) -> None:
        self.url = url.rstrip("/")
        self._retry_pauses_seconds = retry_pauses_seconds
        # The environment's proxies are for other hosts: a question must not pass through one.
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            verify=not self.url.startswith("http:"),  # certificates take 27 ms to load
            trust_env=False,
            timeout=httpx2.Timeout(CALL_SECONDS, connect=CONNECT_SECONDS),
        )

    async def __aenter__(self) -> Self:
        """Open nothing: every call connects as it needs."""
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections; answers on the server go on."""
        await self._http.aclose()

    # --- Answers ------------------------------------------------------------------------------

    async def ask(self, request: QueryRequest) -> AsyncGenerator[StreamEvent, None]:
        """Ask; closing the generator leaves the answer going on, ``cancel`` stops it.

        A connection that breaks before anything came is tried once more, under the same key: whether or not
        the question had arrived, it is asked once.
        """
        body = request.model_copy(update={"stream": True}).model_dump(mode="json", exclude_defaults=True)
        key = {"Idempotency-Key": uuid4().hex}
        asking = self._streaming_request("POST", "/chat/query", body=body, headers=key)
        last_id, generation_id, failures = 0, "", 0
        while True:
            try:
                async with aclosing(self._answer_events(asking)) as events:
                    async for event in events:
                        last_id, failures = event.id, 0
                        if isinstance(event.data, StartedEvent):
                            generation_id = event.data.generation_id
                        yield event
                        if event.is_last:
                            return
            except (httpx2.TransportError, _Broken) as broken:
                failures += 1
                pauses = self._pauses_seconds(broken, is_started=bool(generation_id))
                if failures > len(pauses):
                    raise self._lost(broken, silence_seconds=SILENCE_SECONDS) from broken
            await anyio.sleep(pauses[failures - 1])
            if generation_id:
                path, seen = f"/chat/generation/{generation_id}/events", {"Last-Event-ID": str(last_id)}
                asking = self._streaming_request("GET", path, headers=seen)

    def _pauses_seconds(self, broken: Exception, *, is_started: bool) -> Sequence[float]:
        """Return the waits before asking again; a server that hangs with the question is not asked anew."""
        if is_started:
            return self._retry_pauses_seconds
        return () if isinstance(broken, httpx2.TimeoutException) else self._retry_pauses_seconds[:1]

    async def prefetch(self, request: PrefetchRequest) -> None:
        """Have the model read ahead what is being typed, if nobody else wants it."""
        await self._call("POST", "/chat/prefetch", body=request)

    async def cancel(self, generation_id: str) -> None:
        """Stop an answer and keep what there is of it."""
        await self._call("DELETE", f"/chat/generation/{generation_id}")

    # --- Projects, search, models -------------------------------------------------------------

    async def add_project(self, root: str) -> ProjectView:
        """Make a folder known and return it; the same folder is the same project."""
        if root != root.encode("utf-8", "replace").decode():
            raise InvalidProject(
                f"The folder's path is not valid Unicode: {root!r}.", hint="Rename the folder."
            )
        answer = await self._call("POST", "/projects", body=ProjectRequest(root=root))
        return self._read(ProjectView.model_validate_json, answer)

    async def projects(self) -> list[ProjectView]:
        """Return the known folders."""
        return self._read(_PROJECTS.validate_json, await self._call("GET", "/projects"))

    async def index(self, project: str) -> AsyncGenerator[IndexingEvent | IndexReport, None]:
        """Bring the index up to date; the last event is the report."""
        asking = self._streaming_request("POST", f"/projects/{quote(project, safe='')}/index")
        try:
            async with aclosing(self._sent(asking)) as sent:
                async for each in sent:
                    match each.event:
                        case "indexing":
                            yield self._read(IndexingEvent.model_validate_json, each.data)
                        case "finished":
                            yield self._read(IndexReport.model_validate_json, each.data)
                            return
                        case "error":
                            failure = self._read(ErrorEvent.model_validate_json, each.data)
                            raise error_from(failure.code, failure.detail, failure.hint)
                        case _:  # an event of a newer server is for newer readers
                            pass
        except (httpx2.TransportError, _Broken) as broken:
            raise self._lost(broken, silence_seconds=SILENCE_SECONDS) from broken

    async def search(
        self, query: str, *, project: str, limit: int, mode: SearchMode = SearchMode.HYBRID
    ) -> list[HitView]:
        """Return the chunks that bear on the query, best first, from an index that is up to date."""
        parameters: Parameters = {"q": query, "project": project, "limit": limit, "mode": mode}
        return self._read(_HITS.validate_json, await self._call("GET", "/search", parameters=parameters))

    async def models(self) -> list[ModelView]:
        """Return the catalog, and what else is used; which of it is loaded."""
        return self._read(_MODELS.validate_json, await self._call("GET", "/models"))

    async def model(self, name: str) -> ModelView:
        """Return one model, by its name in the catalog or a path."""
        return self._read(ModelView.model_validate_json, await self._call("GET", _model_path(name)))

    async def load_model(self, name: str) -> ModelView:
        """Have a model ready for the next question, and return once it is."""
        answer = await self._call("POST", f"{_model_path(name)}/load", seconds=LOAD_SECONDS)
        return self._read(ModelView.model_validate_json, answer)

    async def unload_model(self, name: str) -> ModelView:
        """Give a model's memory back; ``EngineBusy`` while it answers."""
        answer = await self._call("POST", f"{_model_path(name)}/unload")
        return self._read(ModelView.model_validate_json, answer)

    # --- Conversations ------------------------------------------------------------------------

    async def conversations(
        self,
        *,
        project: str | None = None,
        containing: str | None = None,
        archived: bool | None = None,
        deleted: bool = False,
    ) -> list[ConversationView]:
        """Return conversations, newest first; ``containing`` looks into titles and messages."""
        parameters: dict[str, str | int] = {}
        if project is not None:
            parameters["project"] = project
        if containing is not None:
            parameters["containing"] = containing
        if archived is not None:
            parameters["archived"] = int(archived)
        if deleted:
            parameters["deleted"] = 1
        answer = await self._call("GET", "/chat/conversations", parameters=parameters)
        return self._read(_CONVERSATIONS.validate_json, answer)

    async def search_messages(self, query: str, *, limit: int = 20) -> list[FoundMessageView]:
        """Return the messages that hold all words, the best first."""
        parameters: Parameters = {"q": query, "limit": limit}
        answer = await self._call("GET", "/chat/search", parameters=parameters)
        return self._read(_FOUND_MESSAGES.validate_json, answer)

    async def conversation(self, conversation_id: str) -> ConversationView:
        """Return one conversation."""
        answer = await self._call("GET", f"/chat/conversation/{conversation_id}")
        return self._read(ConversationView.model_validate_json, answer)

    async def history(
        self, conversation_id: str, *, limit: int = 50, before: str | None = None
    ) -> ChatHistoryResponse:
        """Return the newest messages (before a message, if named), oldest first."""
        parameters: dict[str, str | int] = {"conversation_id": conversation_id, "limit": limit}
        if before is not None:
            parameters["before"] = before
        answer = await self._call("GET", "/chat/history", parameters=parameters)
        return self._read(ChatHistoryResponse.model_validate_json, answer)

    async def context(self, conversation_id: str) -> ChatContextResponse:
        """Return what the conversation holds, in numbers."""
        parameters: Parameters = {"conversation_id": conversation_id}
        answer = await self._call("GET", "/chat/context", parameters=parameters)
        return self._read(ChatContextResponse.model_validate_json, answer)

    async def change_conversation(self, conversation_id: str, patch: ConversationPatch) -> ConversationView:
        """Rename, pin, archive, or choose the model to go on with."""
        answer = await self._call("PATCH", f"/chat/conversation/{conversation_id}", body=patch)
        return self._read(ConversationView.model_validate_json, answer)

    async def delete_conversation(self, conversation_id: str, *, permanently: bool = False) -> None:
        """Delete a conversation; unless ``permanently``, it can be restored for 30 days."""
        parameters: Parameters = {"permanently": 1} if permanently else {}
        await self._call("DELETE", f"/chat/conversation/{conversation_id}", parameters=parameters)

    async def restore_conversation(self, conversation_id: str) -> ConversationView:
        """Undo a deletion."""
        answer = await self._call("POST", f"/chat/conversation/{conversation_id}/restore")
        return self._read(ConversationView.model_validate_json, answer)

    async def export_conversation(self, conversation_id: str, *, form: Literal["md", "json"]) -> str:
        """Return the whole conversation as Markdown or JSON."""
        answer = await self._call(
            "GET", f"/chat/conversation/{conversation_id}/export", parameters={"format": form}
        )
        return answer.decode()

    async def import_conversation(self, document: bytes, *, as_copy: bool = False) -> ConversationView:
        """Keep a conversation that was exported as JSON; ``AlreadyImported`` for one that is here."""
        parameters: Parameters = {"copy": 1} if as_copy else {}
        answer = await self._call("POST", "/chat/import", parameters=parameters, body=document)
        return self._read(ConversationView.model_validate_json, answer)

    # --- The wire -----------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        body: BaseModel | bytes | None = None,
        seconds: float | None = None,
    ) -> bytes:
        """Return the body of a successful answer; raise what the server raised otherwise.

        ``seconds`` is how long the server may take; None: as long as a call may.
        """
        patience_seconds = CALL_SECONDS if seconds is None else seconds
        sent = body.model_dump_json(exclude_unset=True).encode() if isinstance(body, BaseModel) else body
        headers = {} if sent is None else {"Content-Type": "application/json"}
        try:
            response = await self._http.request(
                method,
                path,
                params=parameters,
                content=sent,
                headers=headers,
                timeout=httpx2.Timeout(patience_seconds, connect=CONNECT_SECONDS),
            )
        except httpx2.TransportError as broken:
            raise self._lost(broken, silence_seconds=patience_seconds) from broken
        if not response.is_success:
            raise _refusal(response)
        return response.content

    def _streaming_request(
        self, method: str, path: str, *, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Request:
        sent = {"Accept": "text/event-stream", **(headers or {})}
        patience = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        return self._http.build_request(method, path, json=body, headers=sent, timeout=patience)

    async def _answer_events(self, asking: httpx2.Request) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(self._sent(asking)) as sent:
            async for each in sent:
                event_type = EVENT_TYPES.get(each.event)
                if event_type is None:  # an event of a newer server is for newer readers
                    continue
                parse: Callable[[str | bytes], EventData] = event_type.model_validate_json
                yield StreamEvent(id=int(each.id), data=self._read(parse, each.data))

    async def _sent(self, asking: httpx2.Request) -> AsyncGenerator[httpx2.ServerSentEvent, None]:
        """Yield the events of one connection; raise ``_Broken`` when it ends and the reader wants more."""
        response = await self._http.send(asking, stream=True)
        try:
            if not response.is_success:
                await response.aread()
                raise _refusal(response)
            async for each in httpx2.EventSource(response):
                yield each
        finally:
            await response.aclose()
        raise _Broken

    def _read(self, parse: Callable[[str | bytes], T], body: str | bytes) -> T:
        try:
            return parse(body)
        except ValidationError as error:
            raise CodingAssistantError(
                f"The answer of the server at {self.url} cannot be understood.",
                hint="It may be another version of this program: stop it and start it again.",
            ) from error

    def _lost(self, broken: Exception, *, silence_seconds: float) -> NotReady:
        if isinstance(broken, httpx2.ReadTimeout):
            return NotReady(
                f"The server at {self.url} has said nothing for {silence_seconds:.0f} seconds.",
                hint="Look at its terminal; stop it and start it again if it hangs.",
            )
        return NotReady(
            f"The server at {self.url} does not answer any more.",
            hint="Start it again, or repeat the command: without a server it does the work itself.",
        )


class _Problem(BaseModel):
    """The part of an RFC 9457 problem that an exception is made of."""

    code: str
    detail: str
    hint: str = ""


def _model_path(name: str) -> str:
    return f"/models/{quote(name, safe='')}"


def _refusal(response: httpx2.Response) -> CodingAssistantError:
    """Return the exception that the server raised, as its problem tells."""
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError:
        return CodingAssistantError(
            f"The server answered with status {response.status_code}.",
            hint="Something else than this program may listen there.",
        )
    retry_after = response.headers.get("Retry-After", "")
    return error_from(
        problem.code,
        problem.detail,
        problem.hint,
        retry_after_seconds=int(retry_after) if retry_after.isdecimal() else None,
    )
