"""llama.cpp's server over HTTP: its requests, and whether it still works.

Knows nothing of the process behind the address, of prompt formats and of conversations.
"""

from base64 import b64decode
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import anyio
import httpx2
from pydantic import BaseModel, RootModel, ValidationError

from coding_assistant.domain import EngineEvent, GenerationRequest
from coding_assistant.errors import EngineFailed
from coding_assistant.inference.server_answers import (
    Timings,
    Writing,
    generation_ended,
    parsed,
    prompt_read,
    refusal,
    timings_of,
)

# A megabyte of text is tokenised in half a second; the rest is a machine under load.
_SHORT_SECONDS: Final = 60.0


class ServerLost(Exception):
    """The server dropped the connection or stopped working. The process behind it knows more."""


class _Tokens(BaseModel):
    tokens: tuple[int, ...]


class _GenerationDefaults(BaseModel):
    n_ctx: int


class _Properties(BaseModel):
    default_generation_settings: _GenerationDefaults


class _Slot(BaseModel):
    is_processing: bool


class _Saved(BaseModel):
    n_saved: int
    n_written: int


class _Restored(BaseModel):
    n_restored: int


class _Embedding(BaseModel):
    embedding: str


class _Embeddings(BaseModel):
    data: tuple[_Embedding, ...]


class _Slots(RootModel[tuple[_Slot, ...]]):
    pass


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
            # The server closes connections that were idle for five seconds, in a race with the next request,
            # which then looks like its death: ours are given up long before. A new one each time took 1.2 ms
            # of the 2.5 ms of a request, and a question has dozens.
            limits=httpx2.Limits(max_keepalive_connections=1, keepalive_expiry=1.0),
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
        return _understood(_Tokens, await self._call("POST", "/tokenize", body)).tokens

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
        properties = _understood(_Properties, await self._call("GET", "/props"))
        return properties.default_generation_settings.n_ctx

    async def busy_slots(self) -> int:
        """Return how many slots read or write at this moment."""
        slots = _understood(_Slots, await self._call("GET", "/slots"))
        return sum(slot.is_processing for slot in slots.root)

    async def complete(
        self, request: GenerationRequest, *, written_out: Sequence[str] = ()
    ) -> AsyncGenerator[EngineEvent, None]:
        """Continue the prompt; see ``protocols.Engine.generate``. ``written_out``: see ``ServerSlots``.

        Closing the generator closes the connection. The server notices when it has something to say, and
        else once a second: while it writes within a token, while it reads only after a batch or two. A stop
        string ends an answer as complete, with all that was written before it: what follows was never
        written.
        """
        writing = Writing(self.tokenize)
        async with self._completion(request, written_out) as chunks:
            while True:
                with self._signs.awaited():
                    event = await anext(chunks, None)
                if event is None:
                    raise ServerLost
                chunk = parsed(event.data)
                if chunk.prompt_progress is not None:
                    yield prompt_read(chunk.prompt_progress)
                elif chunk.stop:
                    yield generation_ended(chunk)
                    return
                elif piece := await writing.piece(chunk):
                    yield piece

    async def read(self, tokens: Sequence[int], *, slot: int) -> Timings:
        """Read a prompt into a slot and write nothing; return the server's counts.

        It is read to its end, whoever does not wait for it.
        """
        # Without the fields named the answer would repeat the whole prompt.
        only_reading = {"n_predict": 0, "response_fields": ["timings"]}
        body = {"prompt": tokens, "id_slot": slot, "cache_prompt": True, **only_reading}
        with self._signs.awaited():
            answer = await self._request("POST", "/completion", body)
        return timings_of(answer)

    async def save_slot(self, slot: int, filename: str) -> int:
        """Have the server write a slot to a file of its folder, once it is idle; return the file's bytes.

        0 when there is nothing to save, or no room for it on the disk: what is in the file is then no
        snapshot.
        """
        saved = _understood(_Saved, await self._act_on_slot(slot, "save", filename))
        return saved.n_written if saved.n_saved else 0

    async def restore_slot(self, slot: int, filename: str) -> int:
        """Have a slot hold what the file says, once it is idle; return its tokens.

        Raises ``EngineFailed`` when the server refuses the file; the slot is then empty.
        """
        return _understood(_Restored, await self._act_on_slot(slot, "restore", filename)).n_restored

    async def erase_slot(self, slot: int) -> None:
        """Have a slot forget what it has read, once it is idle."""
        await self._act_on_slot(slot, "erase")

    async def _act_on_slot(self, slot: int, action: str, filename: str = "") -> bytes:
        # No short request: it waits for the slot, and a snapshot may take long on a slow disk.
        with self._signs.awaited():
            return await self._request("POST", f"/slots/{slot}?action={action}", {"filename": filename})

    @asynccontextmanager
    async def _completion(
        self, request: GenerationRequest, written_out: Sequence[str]
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
            "return_tokens": True,
            "preserved_tokens": written_out,
        }
        self._require_open()
        try:
            with self._signs.awaited():
                response = await self._http.send(
                    self._http.build_request("POST", "/completion", json=body), stream=True
                )
            try:
                if response.is_error:
                    raise refusal(response.status_code, await response.aread())
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
            raise refusal(response.status_code, response.content)
        return response.content

    def _require_open(self) -> None:
        if self._http.is_closed:
            raise ServerLost


_Answer = TypeVar("_Answer", bound=BaseModel)


def _understood(kind: type[_Answer], body: bytes) -> _Answer:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise EngineFailed(
            "The engine answered something that is not understood: it is older or newer than what is needed"
            " here.",
            hint='`coding-assistant engine build` makes one that fits; llama_server = "bundled" needs none.',
        ) from error
