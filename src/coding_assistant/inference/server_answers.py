"""What llama.cpp's server says of an answer, event by event, in the product's words.

Knows nothing of connections.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel, ValidationError

from coding_assistant.domain import Finish, GenerationEnded, PromptRead, TextPiece
from coding_assistant.errors import CodingAssistantError, EngineBusy, EngineFailed, InvalidRequest

_NO_COUNTS: Final = "The engine ended an answer without its counts."


class Progress(BaseModel):
    """How much of a prompt is read."""

    total: int
    cache: int
    processed: int


class Timings(BaseModel):
    """The server's counts: tokens found in the slot, read and written, and how long that took."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float


class _Error(BaseModel):
    message: str
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class Chunk(BaseModel):
    """One event of ``/completion``; also an error's body."""

    content: str = ""
    tokens: tuple[int, ...] = ()
    tokens_predicted: int = 0
    stop: bool = False
    stop_type: str = ""
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    error: _Error | None = None


class Writing:
    """Puts the tokens of an answer to the pieces of text that they were written in.

    The server sends each token with the text that it completes. It sends no event for one that ends in the
    middle of a character, and one without text for a token that may be the beginning of a stop string.
    Tokens that are not told are those that the text itself has, if their number and the last one agree.
    """

    def __init__(self, tokenize: Callable[[str], Awaitable[tuple[int, ...]]]) -> None:
        self._tokenize = tokenize
        self._without_text: list[int] = []
        self._counted = 0

    async def piece(self, chunk: Chunk) -> TextPiece | None:
        """Return the text that the event adds, if any."""
        untold = chunk.tokens_predicted - self._counted - len(chunk.tokens)
        self._counted = chunk.tokens_predicted
        held = (*self._without_text, *chunk.tokens)
        self._without_text = []
        if not chunk.content:
            self._without_text += held
            return None
        if chunk.timings is not None:
            # Only the end of an answer has them: a stop string cuts the text, but not its tokens.
            return TextPiece(chunk.content)
        return TextPiece(chunk.content, await self._with_untold(chunk.content, held, untold))

    async def _with_untold(self, text: str, told: tuple[int, ...], untold: int) -> tuple[int, ...]:
        """Return the tokens of a text of which only the last are told, or none if they cannot be known."""
        if untold == 0:
            return told
        # Behind a letter: a SentencePiece vocabulary puts a space before a text that stands alone.
        head, whole = [await self._tokenize(each) for each in ("a", "a" + text)]
        tokens = whole[len(head) :]
        is_likely = whole[: len(head)] == head and len(tokens) == untold + len(told)
        return tokens if is_likely and tokens[untold:] == told else ()


def parsed(data: str | bytes) -> Chunk:
    """Read an event of an answer; raises ``EngineFailed`` when it is none or tells of a failure."""
    try:
        chunk = Chunk.model_validate_json(data)
    except ValidationError as error:
        raise EngineFailed("The engine answered something that is not an answer.") from error
    if chunk.error is not None:
        raise EngineFailed(f"The engine gave up: {chunk.error.message}.")
    return chunk


def timings_of(body: bytes) -> Timings:
    """Return the counts that an answer as a whole comes with."""
    timings = parsed(body).timings
    if timings is None:
        raise EngineFailed(_NO_COUNTS)
    return timings


def prompt_read(progress: Progress) -> PromptRead:
    """Return how far the prompt is read."""
    return PromptRead(progress.processed, progress.total, progress.cache)


def generation_ended(chunk: Chunk) -> GenerationEnded:
    """Return what the last event says; raises ``EngineFailed`` when it says too little."""
    timings = chunk.timings
    if timings is None:
        raise EngineFailed(_NO_COUNTS)
    return GenerationEnded(
        finish=Finish.LENGTH if chunk.stop_type == "limit" else Finish.COMPLETE,
        cached_tokens=timings.cache_n,
        new_tokens=timings.prompt_n,
        written_tokens=timings.predicted_n,
        reading_seconds=timings.prompt_ms / 1000,
        writing_seconds=timings.predicted_ms / 1000,
    )


def refusal(status: int, body: bytes) -> CodingAssistantError:
    """Return the server's refusal as one of the product's errors."""
    try:
        error = Chunk.model_validate_json(body).error
    except ValidationError:
        error = None
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return EngineBusy("The engine is still loading its model.", hint="Try again in a few seconds.")
    if error is None:
        return EngineFailed(f"The engine refused with HTTP status {status}.")
    if error.n_prompt_tokens is not None and error.n_ctx is not None:
        return InvalidRequest(
            f"The prompt has {error.n_prompt_tokens:,} tokens, the context holds {error.n_ctx:,}.",
            hint="Ask about less at once, or set a longer context for this model.",
        )
    return EngineFailed(f"The engine refused: {error.message}.")
