"""The words that every skin speaks: requests, responses and stream events.

The HTTP API sends them as JSON, the command line prints them, the Python API returns them. They are
made from the domain's values here, once, so that the skins cannot drift apart.
"""

import unicodedata
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Literal, Protocol, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from coding_assistant import domain
from coding_assistant.errors import InvalidText

MAX_QUESTION_CHARACTERS = 32_000
"""About 8,000 tokens: longer than any context in the catalog can hold beside an answer."""

MAX_NAME_CHARACTERS = 200


def normalise_text(text: str, *, what: str, limit: int) -> str:
    """Return the text in NFC without surrounding blanks.

    Raises ``InvalidText`` for what no text may hold, so that nothing further in has to ask again:
    emptiness, NUL (PostgreSQL refuses it), lone surrogates (they have no UTF-8), excess length.
    """
    if len(text) > limit:
        raise InvalidText(
            f"The {what} has {len(text):,} characters; at most {limit:,} are read.",
            hint="Shorten it, or ask about a file that holds the text.",
        )
    if "\0" in text:
        raise InvalidText(f"The {what} contains a NUL character.", hint="Remove it and try again.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidText(f"The {what} contains half of a surrogate pair.", hint="Send valid Unicode text.")
    normalised = unicodedata.normalize("NFC", text).strip()
    if not normalised:
        raise InvalidText(f"The {what} is empty.", hint=f"Write a {what}.")
    return normalised


def _question(text: str) -> str:
    return normalise_text(text, what="question", limit=MAX_QUESTION_CHARACTERS)


def _name(text: str) -> str:
    return normalise_text(text, what="name", limit=MAX_NAME_CHARACTERS)


Question: TypeAlias = Annotated[str, AfterValidator(_question)]
Name: TypeAlias = Annotated[str, AfterValidator(_name)]
Identifier: TypeAlias = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]


class Request(BaseModel):
    """What comes in: an unknown field is an error, for it is a misspelt one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Response(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True)


# --- Requests -----------------------------------------------------------------------------------


class QueryRequest(Request):
    """A question, and where it belongs."""

    query: Question = Field(description="The question, in plain words.")
    session_id: Identifier | None = Field(default=None, description="A session; none starts a new one.")
    conversation_id: Identifier | None = Field(
        default=None, description="A conversation to go on with; none starts a new one."
    )
    project: Name | None = Field(
        default=None, description="A project's id or name; none takes the conversation's or the default one."
    )
    stream: bool = Field(default=False, description="Answer with server-sent events.")
    max_tokens: int | None = Field(default=None, ge=1, le=32_768, description="At most so long an answer.")
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)


class ProjectRequest(Request):
    """A folder to make known."""

    root: str = Field(min_length=1, max_length=4096, description="The folder's absolute path.")


class ConversationPatch(Request):
    """What to change of a conversation; a field that is absent stays as it is."""

    title: Name | None = None
    pinned: bool | None = None
    archived: bool | None = None


class SessionClearRequest(Request):
    """The session to clear."""

    session_id: Identifier


# --- Parts of responses -------------------------------------------------------------------------


class SourceView(Response):
    """A source under its number."""

    number: int
    path: str
    start_line: int
    end_line: int
    symbol: str | None
    language: str | None
    text: str

    @classmethod
    def of(cls, source: domain.Source) -> "SourceView":
        """View a source."""
        chunk = source.chunk
        return cls(
            number=source.number,
            path=str(chunk.path),
            start_line=chunk.start_line,
            end_line=chunk.end_line,
            symbol=chunk.symbol,
            language=chunk.language,
            text=chunk.text,
        )


class CitationView(Response):
    """A source that the answer uses, checked against the working tree."""

    number: int
    path: str
    start_line: int
    end_line: int
    symbol: str | None
    state: domain.CitationState
    verified: bool

    @classmethod
    def of(cls, citation: domain.Citation) -> "CitationView":
        """View a citation."""
        return cls(
            number=citation.source.number,
            path=str(citation.source.chunk.path),
            start_line=citation.start_line,
            end_line=citation.end_line,
            symbol=citation.source.chunk.symbol,
            state=citation.state,
            verified=citation.state is domain.CitationState.VERIFIED,
        )


class SectionView(Response):
    """The tokens of one part of the prompt."""

    name: str
    tokens: int


class DroppedView(Response):
    """What was left out of the prompt, and why."""

    what: str
    reason: str
    tokens: int


class ReceiptView(Response):
    """What the model read, in tokens."""

    limit: int
    reserved: int
    used: int
    sections: list[SectionView]
    dropped: list[DroppedView]
    cached: int
    new: int
    freshness: str

    @classmethod
    def of(cls, receipt: domain.Receipt) -> "ReceiptView":
        """View a receipt."""
        return cls(
            limit=receipt.limit,
            reserved=receipt.reserved,
            used=receipt.used,
            sections=[SectionView(name=part.name, tokens=part.tokens) for part in receipt.sections],
            dropped=[
                DroppedView(what=part.what, reason=part.reason, tokens=part.tokens)
                for part in receipt.dropped
            ],
            cached=receipt.cached,
            new=receipt.new,
            freshness=receipt.freshness,
        )


class TimingsView(Response):
    """Where the time went, in seconds."""

    searching: float
    loading: float
    reading: float
    writing: float
    first_token: float
    total: float
    written_tokens: int

    @classmethod
    def of(cls, timings: domain.Timings) -> "TimingsView":
        """View timings, to the millisecond."""
        return cls(
            searching=round(timings.searching, 3),
            loading=round(timings.loading, 3),
            reading=round(timings.reading, 3),
            writing=round(timings.writing, 3),
            first_token=round(timings.first_token, 3),
            total=round(timings.total, 3),
            written_tokens=timings.written_tokens,
        )


# --- Responses ----------------------------------------------------------------------------------


class QueryResponse(Response):
    """An answer with its citations and its receipt."""

    response: str
    session_id: str
    conversation_id: str
    message_id: str
    model: str
    citations: list[CitationView]
    unknown_citations: list[int] = Field(
        description="Numbers that the answer cites and no source has; they are marked in the text."
    )
    sources: list[SourceView]
    receipt: ReceiptView | None
    finish_reason: domain.Finish
    timings: TimingsView
    created_at: datetime

    @classmethod
    def of(cls, session_id: str, turn: domain.Turn) -> "QueryResponse":
        """View a turn that has its answer."""
        answer = turn.answer
        if answer is None:
            raise ValueError(f"turn {turn.id} has no answer yet")
        return cls(
            response=answer.text,
            session_id=session_id,
            conversation_id=turn.conversation_id,
            message_id=answer_message_id(turn.id),
            model=answer.model,
            citations=[CitationView.of(citation) for citation in answer.citations],
            unknown_citations=list(answer.unknown_citations),
            sources=[SourceView.of(source) for source in turn.sources],
            receipt=None if answer.receipt is None else ReceiptView.of(answer.receipt),
            finish_reason=answer.finish,
            timings=TimingsView.of(answer.timings),
            created_at=answer.finished_at,
        )


class MessageView(Response):
    """One half of a turn."""

    id: str
    role: Literal["user", "assistant"]
    content: str
    created_at: datetime
    model: str | None = None
    finish_reason: domain.Finish | None = None
    citations: list[CitationView] = []
    sources: list[SourceView] = []


class ChatHistoryResponse(Response):
    """The newest messages of a conversation, oldest first."""

    conversation_id: str
    messages: list[MessageView]
    total_count: int


class ChatContextResponse(Response):
    """What a conversation holds, in numbers."""

    conversation_id: str
    message_count: int
    user_message_count: int
    assistant_message_count: int
    last_query: str | None
    last_response: str | None
    created_at: datetime
    last_updated: datetime
    receipt: ReceiptView | None


class HistoryClearedResponse(Response):
    """What was removed."""

    cleared_conversations: int
    cleared_messages: int


class SessionView(Response):
    """A session."""

    session_id: str
    created_at: datetime
    last_active: datetime
    conversation_count: int

    @classmethod
    def of(cls, session: domain.Session) -> "SessionView":
        """View a session."""
        return cls(
            session_id=session.id,
            created_at=session.created_at,
            last_active=session.last_active_at,
            conversation_count=session.conversation_count,
        )


class ConversationView(Response):
    """A conversation without its messages."""

    conversation_id: str
    session_id: str
    project_id: str
    title: str
    created_at: datetime
    last_updated: datetime
    pinned: bool
    archived: bool
    message_count: int

    @classmethod
    def of(cls, conversation: domain.Conversation) -> "ConversationView":
        """View a conversation; every turn is two messages, also one that waits for its answer."""
        return cls(
            conversation_id=conversation.id,
            session_id=conversation.session_id,
            project_id=conversation.project_id,
            title=conversation.title,
            created_at=conversation.created_at,
            last_updated=conversation.updated_at,
            pinned=conversation.pinned,
            archived=conversation.archived,
            message_count=2 * conversation.turn_count,
        )


class GenerationView(Response):
    """The state of one answer in the making."""

    generation_id: str
    conversation_id: str
    message_id: str
    state: Literal["running", "finished", "cancelled", "failed"]
    last_event_id: int


class HitView(Response):
    """A search result."""

    path: str
    start_line: int
    end_line: int
    symbol: str | None
    kind: domain.ChunkKind
    language: str | None
    score: float
    why: dict[str, float]
    text: str

    @classmethod
    def of(cls, hit: domain.Hit) -> "HitView":
        """View a hit."""
        chunk = hit.chunk
        return cls(
            path=str(chunk.path),
            start_line=chunk.start_line,
            end_line=chunk.end_line,
            symbol=chunk.symbol,
            kind=chunk.kind,
            language=chunk.language,
            score=round(hit.score, 4),
            why={name: round(value, 4) for name, value in hit.why.items()},
            text=chunk.text,
        )


class ProjectView(Response):
    """A known folder and the state of its index."""

    id: str
    name: str
    root: str
    indexed: bool
    files: int
    chunks: int
    skipped: dict[str, int]


class ReadinessView(Response):
    """Whether a question would be answered now, and what stands in the way."""

    ready: bool
    problems: list[str]


class IndexReport(Response):
    """What an update of the index did."""

    project: str
    files: int
    chunks: int
    changed: int
    removed: int
    skipped: dict[str, int]
    seconds: float

    @classmethod
    def of(cls, project: domain.Project, stats: domain.IndexStats) -> "IndexReport":
        """View an update's outcome."""
        return cls(
            project=project.name,
            files=stats.files,
            chunks=stats.chunks,
            changed=stats.changed,
            removed=stats.removed,
            skipped={str(reason): count for reason, count in stats.skipped.items()},
            seconds=round(stats.seconds, 3),
        )


class ModelView(Response):
    """A model of the catalog, and whether its file is here."""

    name: str
    title: str
    file: str | None
    installed: bool
    selected: bool
    loaded: bool
    size_bytes: int | None
    context_length: int
    max_tokens: int
    temperature: float
    top_p: float
    n_threads: int | None
    n_gpu_layers: int
    prompt_format: str
    licence: str


# --- Stream events ------------------------------------------------------------------------------


class StartedEvent(Response):
    """The question is kept, and the answer has its ids."""

    generation_id: str
    session_id: str
    conversation_id: str
    message_id: str
    model: str


class IndexingEvent(Response):
    """The index is being brought up to date with the working tree."""

    done: int
    total: int


class SourcesEvent(Response):
    """What the model is about to read."""

    sources: list[SourceView]


class LoadingEvent(Response):
    """The model is being loaded."""

    model: str


class ReadingEvent(Response):
    """The model reads the prompt."""

    done: int
    total: int
    cached: int
    remaining_seconds: float | None


class TextEvent(Response):
    """A piece of the answer."""

    text: str


class CitationEvent(Response):
    """A citation, checked."""

    citation: CitationView


class ErrorEvent(Response):
    """The answer ended early."""

    code: str
    detail: str
    hint: str


EventData: TypeAlias = (
    StartedEvent
    | IndexingEvent
    | SourcesEvent
    | LoadingEvent
    | ReadingEvent
    | TextEvent
    | CitationEvent
    | QueryResponse
    | ErrorEvent
)

EVENT_TYPES: dict[str, type[EventData]] = {
    "started": StartedEvent,
    "indexing": IndexingEvent,
    "sources": SourcesEvent,
    "loading": LoadingEvent,
    "reading": ReadingEvent,
    "text": TextEvent,
    "citation": CitationEvent,
    "finished": QueryResponse,
    "error": ErrorEvent,
}
"""The name of each event on the wire; ``finished`` and ``error`` end a stream."""

_EVENT_NAMES = {data_type: name for name, data_type in EVENT_TYPES.items()}


class StreamEvent(Response):
    """An event of an answer, numbered from 1 so that a reader can come back to where it was."""

    id: int
    data: EventData

    @property
    def name(self) -> str:
        """The event's name on the wire."""
        return _EVENT_NAMES[type(self.data)]

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return isinstance(self.data, QueryResponse | ErrorEvent)


# --- The calls ----------------------------------------------------------------------------------


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

    async def search(self, query: str, *, project: str, limit: int) -> list[HitView]:
        """Return the chunks that bear on the query, best first, from an index that is up to date."""
        ...

    async def models(self) -> list[ModelView]:
        """Return the catalog."""
        ...

    async def conversations(
        self, *, project: str | None = None, containing: str | None = None
    ) -> list[ConversationView]:
        """Return conversations, newest first; ``containing`` looks into titles and messages."""
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
        """Rename, pin or archive."""
        ...

    async def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation and all that belongs to it."""
        ...

    async def export_conversation(self, conversation_id: str, *, form: Literal["md", "json"]) -> str:
        """Return the whole conversation as Markdown or JSON."""
        ...


def question_message_id(turn_id: str) -> str:
    """Return the id under which a turn's question is listed."""
    return f"{turn_id}-q"


def answer_message_id(turn_id: str) -> str:
    """Return the id under which a turn's answer is listed."""
    return f"{turn_id}-a"


def history_messages(turn: domain.Turn) -> list[MessageView]:
    """Return the two messages of a turn; one that waits for its answer has only the first."""
    question = MessageView(
        id=question_message_id(turn.id), role="user", content=turn.question, created_at=turn.asked_at
    )
    answer = turn.answer
    if answer is None:
        return [question]
    return [
        question,
        MessageView(
            id=answer_message_id(turn.id),
            role="assistant",
            content=answer.text,
            created_at=answer.finished_at,
            model=answer.model,
            finish_reason=answer.finish,
            citations=[CitationView.of(citation) for citation in answer.citations],
            sources=[SourceView.of(source) for source in turn.sources],
        ),
    ]
