"""What a server elsewhere says of an answer, chunk by chunk, in the product's words.

Servers differ in what they leave out: counts, a role, whole choices, the end. Knows nothing of connections.
"""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Annotated, Final, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    FiniteFloat,
    NonNegativeInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from coding_assistant.domain import (
    EngineEvent,
    Finish,
    GenerationEnded,
    PromptRead,
    ReasoningPiece,
    TextPiece,
)
from coding_assistant.inference.server_answers import Progress

_LENGTH: Final = "length"

REFUSING: Final = frozenset({"content_filter", "abort", "error"})
"""What an answer ends with that its server took back or gave up."""


_Said = TypeVar("_Said")


def _none_if_strange(value: object, read: ValidatorFunctionWrapHandler) -> object:
    try:
        return read(value)
    except ValidationError:
        return None


# What an answer can do without: in a form that is not known, it counts as left out.
_Optional: TypeAlias = Annotated[_Said | None, WrapValidator(_none_if_strange)]


def _joined(content: object) -> object:
    """Return a text that comes in parts as one; parts that are no text have no place in an answer."""
    if not isinstance(content, list):
        return content
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


class _Delta(BaseModel):
    """A piece; thoughts are ``reasoning`` to vLLM, ``reasoning_content`` to all others, or both alike."""

    content: Annotated[str | None, BeforeValidator(_joined)] = None
    reasoning: _Optional[str] = None
    reasoning_content: _Optional[str] = None


class _Choice(BaseModel):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(BaseModel):
    cached_tokens: _Optional[NonNegativeInt] = None


class _Usage(BaseModel):
    prompt_tokens: _Optional[NonNegativeInt] = None
    completion_tokens: _Optional[NonNegativeInt] = None
    prompt_tokens_details: _Optional[_PromptDetails] = None


class _Timings(BaseModel):
    prompt_ms: FiniteFloat
    predicted_ms: FiniteFloat


class Chunk(BaseModel):
    """One event of a streamed chat answer, of which only ``choices`` are essential.

    ``prompt_progress`` and ``timings`` are llama-server's.
    """

    object: _Optional[str] = None
    message: _Optional[str] = None
    choices: list[_Choice] | None = None
    usage: _Optional[_Usage] = None
    prompt_progress: _Optional[Progress] = None
    timings: _Optional[_Timings] = None

    @property
    def complaint(self) -> str | None:
        """What went wrong, from a server that says so in place of a piece."""
        return self.message or "" if self.object == "error" else None


class RemoteWriting:
    """Follows one answer. ``prompt_tokens`` are those that were counted before it was sent."""

    def __init__(self, prompt_tokens: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._prompt_tokens = prompt_tokens
        self._clock = clock
        self._began = clock()
        self._first_at: float | None = None
        self._pieces = 0
        self._cached = 0
        self._usage: _Usage | None = None
        self._timings: _Timings | None = None
        self.finish_reason: str | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything came that the user has seen."""
        return self._first_at is not None

    @property
    def read_tokens(self) -> int | None:
        """The length of the prompt as the server counts it; None where it does not say."""
        return self._usage.prompt_tokens or None if self._usage else None

    def events(self, chunk: Chunk) -> Iterator[EngineEvent]:
        """Return what a chunk adds, which may be nothing."""
        self._usage = chunk.usage or self._usage
        self._timings = chunk.timings or self._timings
        if chunk.prompt_progress is not None and not self.has_begun:
            self._cached = chunk.prompt_progress.cache
            yield PromptRead(chunk.prompt_progress.processed, chunk.prompt_progress.total, self._cached)
        for choice in (chunk.choices or ())[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.delta is not None:
                yield from self._pieces_of(choice.delta)

    def ending(self) -> Iterator[EngineEvent]:
        """Return what ends the answer, with the server's counts, or our own where it gave none."""
        if not self.has_begun:  # it was read, and there was nothing to say
            yield PromptRead(self._prompt_tokens, self._prompt_tokens, self._cached)
        yield self._ended()

    def _ended(self) -> GenerationEnded:
        now = self._clock()
        first_at = now if self._first_at is None else self._first_at
        read, cached = self._read_and_cached()
        written = self._usage.completion_tokens if self._usage else None
        timings = self._timings
        return GenerationEnded(
            finish=Finish.LENGTH if self.finish_reason == _LENGTH else Finish.COMPLETE,
            cached_tokens=cached,
            new_tokens=read - cached,
            written_tokens=self._pieces if written is None else written,
            reading_seconds=timings.prompt_ms / 1000 if timings else first_at - self._began,
            writing_seconds=timings.predicted_ms / 1000 if timings else now - first_at,
        )

    def _read_and_cached(self) -> tuple[int, int]:
        read = self.read_tokens or self._prompt_tokens
        details = self._usage.prompt_tokens_details if self._usage else None
        said = details.cached_tokens if details else None
        return read, min(read, self._cached if said is None else said)

    def _pieces_of(self, delta: _Delta) -> Iterator[EngineEvent]:
        thought = delta.reasoning or delta.reasoning_content
        if not (thought or delta.content):
            return
        if self._first_at is None:
            self._first_at = self._clock()
            yield PromptRead(self._prompt_tokens, self._prompt_tokens, self._cached)
        self._pieces += 1
        if thought:
            yield ReasoningPiece(thought)
        if delta.content:
            yield TextPiece(delta.content)
