"""What goes out while an answer is made: stream events, each under its name."""

from typing import Self, TypeAlias, assert_never

from pydantic import Field

from coding_assistant import domain
from coding_assistant.contract.responses import QueryResponse, answer_message_id
from coding_assistant.contract.views import CitationView, Response, SourceView


class StartedEvent(Response):
    """The question is kept, and the answer has its ids."""

    generation_id: str
    session_id: str
    conversation_id: str
    message_id: str
    model: str


class IndexingEvent(Response):
    """The index is being brought up to date with the working tree."""

    what: domain.Indexed
    done: int
    total: int

    @classmethod
    def of(cls, progress: domain.Indexing) -> Self:
        """Return the progress as it is told."""
        return cls(what=progress.what, done=progress.done, total=progress.total)


class SourcesEvent(Response):
    """What the model is about to read.

    ``searched`` is false where the question asks for the last answer in another form, and needs nothing new.
    """

    sources: list[SourceView]
    searched: bool = True


class SearchedEvent(Response):
    """A further round of a deep search has ended."""

    round: int = Field(description="1 for the first, 3 at most.")
    query: list[str] = Field(description="The names in what was found before that were searched for.")
    found: int = Field(description="How many excerpts it added to those that the model is to read.")


class WaitingEvent(Response):
    """Other questions come first: so many, 0 when this one is next."""

    ahead: int


class CompactedEvent(Response):
    """The conversation outgrew the context: a summary stands for its older turns from now on."""

    last_turn: int = Field(description="The number of the last turn that the summary stands for.")
    origin: domain.SummaryOrigin
    text: str


class LoadingEvent(Response):
    """The model is being loaded."""

    model: str


class LoadedEvent(Response):
    """The model is loaded."""

    model: str
    program: str = Field(
        description="What runs it: `bundled`, `native`, `path` or `named`; empty where it runs elsewhere."
    )
    program_version: str
    layers: int
    offloaded_layers: int = Field(description="How many layers are on a GPU, as the engine reports it.")
    notice: str = Field(description="What its user is to know of the load; empty when all is as asked for.")

    @classmethod
    def of(cls, info: domain.EngineInfo) -> Self:
        """Return what is told of a load."""
        return cls(
            model=info.model,
            program=info.program,
            program_version=info.program_version,
            layers=info.layers,
            offloaded_layers=info.offloaded_layers,
            notice=info.notice,
        )


class ReadingEvent(Response):
    """The model reads the prompt."""

    done: int
    total: int
    cached: int
    remaining_seconds: float | None


class ReasoningEvent(Response):
    """A piece of what the model thinks before it answers: no part of the answer, and kept nowhere."""

    text: str


class TextEvent(Response):
    """A piece of the answer."""

    text: str


class RetractedEvent(Response):
    """All text so far is taken back, and another answer follows.

    It rested on these names, which the project lacks; without names: it only pointed at sources.
    """

    names: list[str]


class CitationEvent(Response):
    """A citation, checked."""

    citation: CitationView


class ErrorEvent(Response):
    """The answer ended early."""

    code: str
    detail: str
    hint: str
    retry_after_seconds: int | None = None


EventData: TypeAlias = (
    StartedEvent
    | IndexingEvent
    | SearchedEvent
    | SourcesEvent
    | WaitingEvent
    | CompactedEvent
    | LoadingEvent
    | LoadedEvent
    | ReadingEvent
    | ReasoningEvent
    | TextEvent
    | RetractedEvent
    | CitationEvent
    | QueryResponse
    | ErrorEvent
)

EVENT_TYPES: dict[str, type[EventData]] = {
    "started": StartedEvent,
    "indexing": IndexingEvent,
    "searched": SearchedEvent,
    "sources": SourcesEvent,
    "waiting": WaitingEvent,
    "compacted": CompactedEvent,
    "loading": LoadingEvent,
    "loaded": LoadedEvent,
    "reading": ReadingEvent,
    "reasoning": ReasoningEvent,
    "text": TextEvent,
    "retracted": RetractedEvent,
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


def event_data(  # noqa: C901, PLR0911, PLR0912  -- one return a kind of event, and the type checker knows them all
    event: domain.AnswerEvent,
) -> EventData:
    """Return what an answer's event is on the wire."""
    match event:
        case domain.AnswerStarted(session_id=session_id, turn=turn, model=model):
            return StartedEvent(
                generation_id=turn.id,
                session_id=session_id,
                conversation_id=turn.conversation_id,
                message_id=answer_message_id(turn.id),
                model=model,
            )
        case domain.Indexing():
            return IndexingEvent.of(event)
        case domain.SearchedDeeper(round=number, names=names, found=found):
            return SearchedEvent(round=number, query=list(names), found=found)
        case domain.SourcesFound(sources=sources, searched=searched):
            return SourcesEvent(sources=[SourceView.of(source) for source in sources], searched=searched)
        case domain.Waiting(ahead=ahead):
            return WaitingEvent(ahead=ahead)
        case domain.Compacted(summary=summary):
            return CompactedEvent(last_turn=summary.last_turn, origin=summary.origin, text=summary.text)
        case domain.ModelLoading(model=model):
            return LoadingEvent(model=model)
        case domain.ModelLoaded(info=info):
            return LoadedEvent.of(info)
        case domain.Reading(done=done, total=total, cached=cached, remaining_seconds=remaining):
            return ReadingEvent(done=done, total=total, cached=cached, remaining_seconds=remaining)
        case domain.ReasoningDelta(text=text):
            return ReasoningEvent(text=text)
        case domain.TextDelta(text=text):
            return TextEvent(text=text)
        case domain.AnswerRetracted(names=names):
            return RetractedEvent(names=list(names))
        case domain.CitationFound(citation=citation):
            return CitationEvent(citation=CitationView.of(citation))
        case domain.AnswerFinished(session_id=session_id, turn=turn, reasoning=reasoning, edits=edits):
            return QueryResponse.of(session_id, turn, reasoning=reasoning, edits=edits)
        case domain.AnswerFailed(code=code, message=message, hint=hint, retry_after_seconds=seconds):
            return ErrorEvent(code=code, detail=message, hint=hint, retry_after_seconds=seconds)
        case _:
            assert_never(event)
