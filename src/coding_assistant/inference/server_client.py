"""llama.cpp's server over HTTP: its requests, its answers, its errors as ours, and whether it still works.

Knows nothing of the process behind the address, of prompt formats and of conversations.
"""

from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Final

import anyio
import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from coding_assistant.domain import (
    EngineEvent,
    Finish,
    GenerationEnded,
    GenerationRequest,
    Message,
    PromptRead,
    TextPiece,
)
from coding_assistant.errors import CodingAssistantError, EngineBusy, EngineFailed, InvalidRequest

# A megabyte of text is tokenised in half a second; the rest is a machine under load.
_SHORT_SECONDS: Final = 60.0


class ServerLost(Exception):
    """The server dropped the connection or stopped working. The process behind it knows more."""


class _Progress(BaseModel):
    total: int
    cache: int
    processed: int


class _Timings(BaseModel):
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


class _Chunk(BaseModel):
    """One event of ``/completion``; also an error's body."""

    content: str = ""
    stop: bool = False
    stop_type: str = ""
    prompt_progress: _Progress | None = None
    timings: _Timings | None = None
    error: _Error | None = None


class _Tokens(BaseModel):
    tokens: tuple[int, ...]


class _Rendered(BaseModel):
    prompt: str


class _GenerationDefaults(BaseModel):
    n_ctx: int


class _Properties(BaseModel):
    default_generation_settings: _GenerationDefaults


class _Slot(BaseModel):
    is_processing: bool


class _Embedding(BaseModel):
    embedding: str


class _Embeddings(BaseModel):
    data: tuple[_Embedding, ...]


_SLOTS: Final = TypeAdapter(list[_Slot])


class SignsOfLife:
    """Tells an engine that works for somebody else from one that hangs.

    A request may wait for minutes while the engine reads another's prompt. So every sign that any request
    sees prolongs the patience of all.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._waiting: set[anyio.CancelScope] = set()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Wait inside for the next sign; raises ``ServerLost`` when nobody saw one for too long."""
        with anyio.CancelScope(deadline=self._deadline()) as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)
        if scope.cancelled_caught:
            raise ServerLost
        self._seen()

    def _seen(self) -> None:
        for scope in self._waiting:
            scope.deadline = self._deadline()

    def _deadline(self) -> float:
        return anyio.current_time() + self._patience


class ServerClient:
    """Talks to one server. ``patience_seconds`` is how long it may show no progress on any request."""

    def __init__(self, url: str, api_key: str, *, patience_seconds: float) -> None:
        self._signs = SignsOfLife(patience_seconds)
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"},
            # The server closes idle connections, in a race with the next request, which then looks like
            # its death. A new connection on loopback costs 0.2 ms.
            limits=httpx2.Limits(max_keepalive_connections=0),
            timeout=None,  # deadlines are kept below, by progress
            trust_env=False,  # a proxy for the world outside must not see loopback
        )

    async def close(self) -> None:
        """Close what connections there are. A later request finds the server lost."""
        await self._http.aclose()

    async def tokenize(
        self, text: str, *, parse_special: bool = False, add_special: bool = False
    ) -> tuple[int, ...]:
        """Return the tokens of the text; see ``encoding.Tokenizer``."""
        body = {"content": text, "parse_special": parse_special, "add_special": add_special}
        return _Tokens.model_validate_json(await self._call("POST", "/tokenize", body)).tokens

    async def apply_template(self, messages: Sequence[Message]) -> str:
        """Return the messages as the model's own chat template renders them, ready for an answer."""
        body = {"messages": [{"role": message.role.value, "content": message.text} for message in messages]}
        return _Rendered.model_validate_json(await self._call("POST", "/apply-template", body)).prompt

    async def embed(self, tokens: Sequence[int]) -> bytes:
        """Return the vector of a text's tokens, of length 1, as little-endian float32.

        The server must have been started for embedding. A text waits for those sent before it.
        """
        body = {"input": tokens, "encoding_format": "base64"}
        with self._signs.awaited():
            answer = await self._request("POST", "/v1/embeddings", body)
        try:
            return b64decode(_Embeddings.model_validate_json(answer).data[0].embedding)
        except (ValidationError, ValueError, IndexError) as error:
            raise EngineFailed("The engine answered something that is no vector.") from error

    async def context_tokens(self) -> int:
        """Return how many tokens a slot holds."""
        properties = _Properties.model_validate_json(await self._call("GET", "/props"))
        return properties.default_generation_settings.n_ctx

    async def busy_slots(self) -> int:
        """Return how many slots read or write at this moment."""
        return sum(slot.is_processing for slot in _SLOTS.validate_json(await self._call("GET", "/slots")))

    async def complete(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Continue the prompt; see ``protocols.Engine.generate``.

        Closing the generator closes the connection, which the server looks at once a second. A stop string
        ends an answer as complete, with all that was written before it: what follows was never written.
        """
        async with self._completion(request) as chunks:
            while True:
                with self._signs.awaited():
                    event = await anext(chunks, None)
                if event is None:
                    raise ServerLost
                chunk = _parsed(event.data)
                if chunk.prompt_progress is not None:
                    progress = chunk.prompt_progress
                    yield PromptRead(progress.processed, progress.total, progress.cache)
                if chunk.content:
                    yield TextPiece(chunk.content)
                if chunk.stop:
                    yield _ended(chunk)
                    return

    @asynccontextmanager
    async def _completion(
        self, request: GenerationRequest
    ) -> AsyncIterator[AsyncIterator[httpx2.ServerSentEvent]]:
        body = {
            "prompt": request.tokens,
            "id_slot": request.slot,
            "cache_prompt": True,
            "n_predict": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": request.stop,
            "stream": True,
            "return_progress": True,
        }
        self._require_open()
        try:
            with self._signs.awaited():
                response = await self._http.send(
                    self._http.build_request("POST", "/completion", json=body), stream=True
                )
            try:
                if response.is_error:
                    raise _translated(response.status_code, await response.aread())
                # The last event repeats the whole prompt, so that no size is too large.
                yield aiter(httpx2.EventSource(response, max_event_size=None))
            finally:
                await response.aclose()
        except httpx2.TransportError as error:
            raise ServerLost from error

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        """Make a short request and return the answer's body."""
        try:
            with anyio.fail_after(_SHORT_SECONDS):
                return await self._request(method, path, body)
        except TimeoutError as error:
            raise ServerLost from error

    async def _request(self, method: str, path: str, body: Mapping[str, object] | None) -> bytes:
        self._require_open()
        try:
            response = await self._http.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise ServerLost from error
        if response.is_error:
            raise _translated(response.status_code, response.content)
        return response.content

    def _require_open(self) -> None:
        if self._http.is_closed:
            raise ServerLost


def _parsed(data: str) -> _Chunk:
    try:
        chunk = _Chunk.model_validate_json(data)
    except ValidationError as error:
        raise EngineFailed("The engine answered something that is not an answer.") from error
    if chunk.error is not None:
        raise EngineFailed(f"The engine gave up: {chunk.error.message}.")
    return chunk


def _ended(chunk: _Chunk) -> GenerationEnded:
    timings = chunk.timings
    if timings is None:
        raise EngineFailed("The engine ended an answer without its counts.")
    return GenerationEnded(
        finish=Finish.LENGTH if chunk.stop_type == "limit" else Finish.COMPLETE,
        cached_tokens=timings.cache_n,
        new_tokens=timings.prompt_n,
        written_tokens=timings.predicted_n,
        reading_seconds=timings.prompt_ms / 1000,
        writing_seconds=timings.predicted_ms / 1000,
    )


def _translated(status: int, body: bytes) -> CodingAssistantError:
    """Return the server's refusal as one of the product's errors."""
    try:
        error = _Chunk.model_validate_json(body).error
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
