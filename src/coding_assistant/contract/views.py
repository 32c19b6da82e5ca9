"""The parts that responses are made of: views of the domain's values."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from coding_assistant import domain
from coding_assistant.chat.code_blocks import CodeBlock


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
    origin: domain.SourceOrigin = Field(
        default=domain.SourceOrigin.FOUND,
        description="`found` by the search, `attached` to the question, or `given` with it: then `path` is"
        " the name of a text that is in no file.",
    )
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
            origin=source.origin,
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
    inferred: bool = Field(
        default=False,
        description="The answer does not write this number; by its names and words, it rests on these lines.",
    )

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
            inferred=citation.is_inferred,
        )


class CodeBlockView(Response):
    """Code in an answer."""

    language: str
    path: str | None = Field(
        description="The file that it says it is of, or of whose source it rewrites a part; null: not known."
    )
    text: str
    complete: bool = Field(description="False where it breaks off, or says that lines are left out.")

    @classmethod
    def of(cls, block: CodeBlock) -> "CodeBlockView":
        """View a block."""
        return cls(
            language=block.language,
            path=None if block.path is None else str(block.path),
            text=block.text,
            complete=block.is_complete,
        )


class NamedPlaceView(Response):
    """Something that the project has."""

    name: str
    path: str
    line: int


class VainSearchView(Response):
    """What was searched for an answer that says it was not found, and the nearest that is there."""

    files: int
    words: list[str]
    nearest: list[NamedPlaceView]

    @classmethod
    def of(cls, grounding: domain.Grounding) -> "VainSearchView | None":
        """View a search in vain; None where the answer does not say that it was."""
        if not grounding.not_found:
            return None
        return cls(
            files=grounding.searched_files,
            words=list(grounding.searched_words),
            nearest=[
                NamedPlaceView(name=place.name, path=str(place.path), line=place.line)
                for place in grounding.nearest
            ],
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
    search: str = Field(
        default="", description="How far a deep search went, and what it was allowed; else empty."
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
            search=receipt.search,
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
