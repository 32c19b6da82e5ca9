"""The parts that responses are made of: views of the domain's values."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from coding_assistant import domain


class Response(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True)


class ContextLineView(Response):
    """A line that the model was shown beside a source; a text that was cut ends with an ellipsis."""

    line: int
    text: str


class SourceView(Response):
    """A source under its number."""

    number: int
    path: str
    start_line: int
    end_line: int
    symbol: str | None
    language: str | None
    text: str
    context: list[ContextLineView] = Field(
        default_factory=list,
        description="Heads of what the lines stand in, and of what a class that they begin holds below.",
    )

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
            context=[ContextLineView(line=each.line, text=each.text) for each in chunk.context],
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
    cold: str = Field(
        default="", description="Why the turns before had to be read again; empty where they had not."
    )

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
            cold=receipt.cold,
        )


class ForecastView(Response):
    """What the next question finds, in tokens."""

    model: str = Field(description="The model that it will be asked of.")
    limit: int
    reserved: int
    held: int = Field(description="What the conversation takes before the question.")
    room: int = Field(description="What the question and its sources may take before it is compacted.")
    exact: bool = Field(description="Whether `held` was counted by the model; otherwise it is estimated.")
    cached: int | None = Field(description="How much of it the model has read already; null: not known.")
    cold: str = Field(description="Why the model has to read all of it; empty where it has not, or may not.")
    compaction_near: bool = Field(description="Whether older turns are about to be summarised.")


class SummaryView(Response):
    """What the model reads in place of a conversation's older turns."""

    last_turn: int = Field(description="The number of the last turn that it stands for.")
    text: str
    origin: domain.SummaryOrigin
    made_at: datetime

    @classmethod
    def of(cls, summary: domain.Summary) -> "SummaryView":
        """View a summary."""
        return cls(
            last_turn=summary.last_turn,
            text=summary.text,
            origin=summary.origin,
            made_at=summary.made_at,
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
