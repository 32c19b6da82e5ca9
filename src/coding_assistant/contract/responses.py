"""What goes out: whole responses."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from coding_assistant import domain
from coding_assistant.chat.code_blocks import code_blocks
from coding_assistant.contract.views import (
    CitationView,
    CodeBlockView,
    ForecastView,
    ReceiptView,
    Response,
    SourceView,
    SummaryView,
    TimingsView,
    VainSearchView,
)
from coding_assistant.index.known_files import Counts

# What an answer and a message of the history say alike.
NotFound: TypeAlias = Annotated[
    bool, Field(description="The answer says that the project does not hold what was asked for.")
]
SearchedInVain: TypeAlias = Annotated[
    VainSearchView | None, Field(description="What was searched in vain; null unless `not_found`.")
]
UnverifiedNames: TypeAlias = Annotated[
    list[str],
    Field(description="Names in the answer that stand nowhere in the project: they may be made up."),
]
TakenBack: TypeAlias = Annotated[
    list[str],
    Field(description="Names that are not in the project, for which a first answer was taken back."),
]


class QueryResponse(Response):
    """An answer with its citations and its receipt."""

    response: str
    reasoning: str = Field(
        default="",
        description="What the model thought before it answered, while the answer is fresh. It is kept"
        " nowhere: an answer that is asked for again comes without.",
    )
    session_id: str
    conversation_id: str
    message_id: str
    model: str
    citations: list[CitationView]
    unknown_citations: list[int] = Field(
        description="Numbers that the answer cites and no source has; they are marked in the text."
    )
    not_found: NotFound = False
    searched: SearchedInVain = None
    unverified_names: UnverifiedNames = Field(default_factory=list)
    taken_back: TakenBack = Field(default_factory=list)
    sources: list[SourceView]
    receipt: ReceiptView | None
    finish_reason: domain.Finish
    timings: TimingsView
    created_at: datetime
    code: list[CodeBlockView] = Field(default_factory=list, description="The answer's code, block by block.")
    diff: str | None = Field(
        default=None,
        description="The answer's code as a unified diff of the working tree, empty where there is none; null"
        " unless it was asked for. It is kept nowhere, and nothing is written.",
    )
    unplaced: list[str] = Field(
        default_factory=list, description="Why code is not in the diff, a sentence for each block."
    )

    @classmethod
    def of(
        cls,
        session_id: str,
        turn: domain.Turn,
        *,
        reasoning: str = "",
        edits: domain.ProposedEdits | None = None,
    ) -> "QueryResponse":
        """View a turn that has its answer."""
        answer = turn.answer
        if answer is None:
            raise ValueError(f"turn {turn.id} has no answer yet")
        return cls(
            response=answer.text,
            reasoning=reasoning,
            session_id=session_id,
            conversation_id=turn.conversation_id,
            message_id=answer_message_id(turn.id),
            model=answer.model,
            citations=[CitationView.of(citation) for citation in answer.citations],
            unknown_citations=list(answer.unknown_citations),
            not_found=answer.grounding.not_found,
            searched=VainSearchView.of(answer.grounding),
            unverified_names=list(answer.grounding.unverified_names),
            taken_back=list(answer.grounding.taken_back),
            sources=[SourceView.of(source) for source in turn.sources],
            receipt=None if answer.receipt is None else ReceiptView.of(answer.receipt),
            finish_reason=answer.finish,
            timings=TimingsView.of(answer.timings),
            created_at=answer.finished_at,
            code=[CodeBlockView.of(block) for block in code_blocks(answer.text, turn.sources)],
            diff=None if edits is None else edits.diff,
            unplaced=[] if edits is None else list(edits.unplaced),
        )


class MessageView(Response):
    """One half of a turn."""

    id: str
    turn: int = Field(description="The turn's number, by which a summary says how far it reaches.")
    role: Literal["user", "assistant"]
    content: str
    created_at: datetime
    model: str | None = None
    finish_reason: domain.Finish | None = None
    citations: list[CitationView] = Field(default_factory=list)
    unknown_citations: list[int] = Field(default_factory=list)
    sources: list[SourceView] = Field(default_factory=list)
    receipt: ReceiptView | None = None
    failure: str = Field(default="", description="Why the answer failed; empty if it did not.")
    not_found: NotFound = False
    searched: SearchedInVain = None
    unverified_names: UnverifiedNames = Field(default_factory=list)
    taken_back: TakenBack = Field(default_factory=list)


class ChatHistoryResponse(Response):
    """The newest messages of a conversation, oldest first."""

    conversation_id: str
    messages: list[MessageView]
    total_count: int
    summaries: list[SummaryView] = Field(
        default_factory=list,
        description="What the model reads in place of older turns; the last one is in use. Nothing is lost:"
        " the turns are among the messages.",
    )


class FoundMessageView(Response):
    """A message that a search found, or a conversation whose title it found."""

    conversation_id: str
    project_id: str
    title: str
    message_id: str | None = Field(description="Null: the words are in the conversation's title.")
    role: Literal["user", "assistant"] | None
    said_at: datetime
    snippet: str = Field(description="The part around the words, on one line.")

    @classmethod
    def of(cls, found: domain.FoundMessage) -> "FoundMessageView":
        """View what was found."""
        is_answer = found.role is domain.Role.ASSISTANT
        message_id = None
        if found.turn_id is not None:
            message_id = (answer_message_id if is_answer else question_message_id)(found.turn_id)
        return cls(
            conversation_id=found.conversation_id,
            project_id=found.project_id,
            title=found.title,
            message_id=message_id,
            role=None if message_id is None else "assistant" if is_answer else "user",
            said_at=found.said_at,
            snippet=found.snippet,
        )


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
    receipt: ReceiptView | None = Field(description="What the model read for the last answer.")
    next: ForecastView | None = Field(
        default=None, description="What the next question finds; null while no model is chosen."
    )
    summary: SummaryView | None = Field(
        default=None, description="What the model reads in place of the older turns; null: it reads them all."
    )


class HistoryClearedResponse(Response):
    """What was removed."""

    cleared_conversations: int
    cleared_messages: int
    remains: str = Field(
        default="", description="What a server elsewhere, which ran the model, may keep; empty: nothing does."
    )


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
    deleted_at: datetime | None = Field(
        default=None, description="Null but in the trash, where it can be restored for 30 days."
    )
    model: str | None = Field(
        default=None, description="The model that was chosen for it; null: the one that the settings name."
    )

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
            deleted_at=conversation.deleted_at,
            model=conversation.model,
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
    embedder: str = Field(description="What finds code by meaning, as in the settings; `none`: words only.")
    embedded: int = Field(description="How many of the chunks have a vector of this embedder.")

    @classmethod
    def of(
        cls, project: domain.Project, counts: Counts | None, *, embedder: str, embedded: int
    ) -> "ProjectView":
        """View a project; ``counts`` is None while it has no index."""
        return cls(
            id=project.id,
            name=project.name,
            root=str(project.root),
            indexed=counts is not None,
            files=counts.files if counts else 0,
            chunks=counts.chunks if counts else 0,
            skipped={str(reason): count for reason, count in counts.skipped.items()} if counts else {},
            embedder=embedder,
            embedded=embedded,
        )


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
    degraded: int = Field(
        default=0, description="Files that could not be parsed in time and were cut by lines."
    )
    seconds: float

    @classmethod
    def of(cls, project: str, stats: domain.IndexStats) -> "IndexReport":
        """View an update's outcome."""
        return cls(
            project=project,
            files=stats.files,
            chunks=stats.chunks,
            changed=stats.changed,
            removed=stats.removed,
            skipped={str(reason): count for reason, count in stats.skipped.items()},
            degraded=stats.degraded,
            seconds=round(stats.seconds, 3),
        )


class MemoryPlanView(Response):
    """What a model needs of this machine's memory, in bytes, and what there is of it."""

    needed: int
    weights: int
    kv_cache: int
    compute: int
    available: int = Field(description="Before the load, of the machine or of the control group.")
    fits: bool
    bound: domain.Bound = Field(description="How sure kv_cache is.")
    slots: int
    context_tokens: int = Field(description="Of each slot.")
    reduction: str = Field(description="Why the context is shorter than was asked for; empty: it is not.")

    @classmethod
    def of(cls, plan: domain.MemoryPlan) -> "MemoryPlanView":
        """View a plan."""
        return cls(
            needed=plan.needed,
            weights=plan.weights,
            kv_cache=plan.kv_cache,
            compute=plan.compute,
            available=plan.available,
            fits=plan.fits,
            bound=plan.bound,
            slots=plan.slots,
            context_tokens=plan.context_tokens,
            reduction=plan.reduction,
        )


class ModelView(Response):
    """A model, whether its file is here, and where it stands in memory."""

    name: str
    title: str
    file: str | None
    installed: bool
    selected: bool = Field(description="Whether it answers where no other one is named.")
    loaded: bool
    loading: bool
    memory_bytes: int | None = Field(
        description="What its process holds now; null for one that runs elsewhere, or is not loaded."
    )
    memory: MemoryPlanView | None = Field(
        default=None,
        description="What it was loaded by, or would be loaded by now; null where its file is not here, and"
        " in a list for another program's model that is not in use.",
    )
    last_used: datetime | None = Field(description="When a person used it; null: not since the start.")
    notice: str = Field(description="What is to be said of its last load; empty when all is as asked for.")
    address: str = Field(
        description="The server elsewhere that runs it and gets questions and code; empty: they stay here."
    )
    size_bytes: int | None
    context_length: int
    max_tokens: int
    temperature: float
    top_p: float
    n_threads: int | None
    n_gpu_layers: domain.GpuLayers
    prompt_format: str
    licence: str

    @classmethod
    def of(
        cls, spec: domain.ModelSpec, file: Path | None, *, selected: bool, residence: domain.Residence
    ) -> "ModelView":
        """View a model; ``file`` is where its weights are, and the residence's plan what it takes."""
        return cls(
            name=spec.name,
            title=spec.title,
            file=str(file) if file else None,
            installed=file is not None,
            selected=selected,
            loaded=residence.is_loaded,
            loading=residence.is_loading,
            memory_bytes=residence.memory_bytes,
            memory=None if residence.plan is None else MemoryPlanView.of(residence.plan),
            last_used=residence.last_used_at,
            notice=residence.notice or spec.notice,
            address=spec.address,
            size_bytes=spec.size_bytes,
            context_length=spec.context_length,
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            top_p=spec.top_p,
            n_threads=spec.n_threads,
            n_gpu_layers=spec.n_gpu_layers,
            prompt_format=spec.prompt_format,
            licence=spec.licence,
        )


def question_message_id(turn_id: str) -> str:
    """Return the id under which a turn's question is listed."""
    return f"{turn_id}-q"


def answer_message_id(turn_id: str) -> str:
    """Return the id under which a turn's answer is listed."""
    return f"{turn_id}-a"


def history_messages(turn: domain.Turn) -> list[MessageView]:
    """Return the two messages of a turn; one that waits for its answer has only the first."""
    question = MessageView(
        id=question_message_id(turn.id),
        turn=turn.number,
        role="user",
        content=turn.question,
        created_at=turn.asked_at,
    )
    answer = turn.answer
    if answer is None:
        return [question]
    return [
        question,
        MessageView(
            id=answer_message_id(turn.id),
            turn=turn.number,
            role="assistant",
            content=answer.text,
            created_at=answer.finished_at,
            model=answer.model,
            finish_reason=answer.finish,
            citations=[CitationView.of(citation) for citation in answer.citations],
            unknown_citations=list(answer.unknown_citations),
            not_found=answer.grounding.not_found,
            searched=VainSearchView.of(answer.grounding),
            unverified_names=list(answer.grounding.unverified_names),
            taken_back=list(answer.grounding.taken_back),
            sources=[SourceView.of(source) for source in turn.sources],
            receipt=None if answer.receipt is None else ReceiptView.of(answer.receipt),
            failure=answer.failure,
        ),
    ]
