"""A server that runs models elsewhere, over HTTP: the standard doors, and the server's own beside them.

Its failures come out as ``RemoteFailure``, with the product's error for the user and a word on whether the
same request may succeed later. Knows nothing of what the answers mean.
"""

import math
import ssl
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar

import anyio
import httpx2
import openai
from pydantic import BaseModel, ValidationError

from coding_assistant.errors import (
    CodingAssistantError,
    EngineBusy,
    EngineDied,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
)
from coding_assistant.inference.remote_address import RemoteAddress

# A count of a long prompt takes under a second; the rest is a machine under load.
_SHORT_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 10.0

# What a request is understood by, besides the key. The client would add the machine's system, processor and
# Python, and the organisation, project, headers and even another key that its environment variables name.
_NEEDED_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)

_NO_SUCH_DOOR: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_NO_ENTRY: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_LOADING: Final = frozenset(
    {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
)
_NOT_SO: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
)

_LONGEST_COMPLAINT: Final = 300
_ONE_MOMENT: Final = 5
_LONGEST_ASKED_SECONDS: Final = 3600.0  # that a server may ask to wait; nobody is as patient

_Body = TypeVar("_Body", bound=BaseModel)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Transience:
    """That a failure may pass: after so many seconds if the server says so.

    ``is_answering`` tells a server that is there and busy from one that cannot be reached.
    """

    is_answering: bool
    retry_after_seconds: float | None = None


class RemoteFailure(Exception):
    """A request failed. ``reason`` is for the user; ``transience`` is None where trying again is no use."""

    def __init__(self, reason: CodingAssistantError, transience: Transience | None = None) -> None:
        super().__init__(reason.message)
        self.reason = reason
        self.transience = transience


class _Complaint(BaseModel):
    message: str = ""


class _Refusal(BaseModel):
    error: _Complaint | str | None = None
    message: str = ""
    detail: str = ""

    @property
    def said(self) -> str:
        nested = self.error.message if isinstance(self.error, _Complaint) else self.error
        return nested or self.message or self.detail


class RemoteServer:
    """Talks to one server. ``patience_seconds`` is how long an answer may make no progress."""

    def __init__(self, address: RemoteAddress, api_key: str, *, patience_seconds: float) -> None:
        self.address = address
        self._api_key = api_key
        self._patience = patience_seconds
        self._http = httpx2.AsyncClient(
            # Reading whom to trust takes a fifth of a second; without encryption nobody shows a certificate.
            verify=True if address.is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),  # the rest is kept below, by progress
            # Most of these servers close connections that were idle for five seconds, in a race with the next
            # request; ours are given up before.
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=2.0),
            event_hooks={"request": [self._send_only_what_is_needed]},
            # Neither a proxy nor a .netrc of the environment nor another server gets to see code unasked.
            trust_env=False,
            follow_redirects=False,
        )
        self._client = openai.AsyncOpenAI(
            api_key=api_key or "none", base_url=address.base, max_retries=0, http_client=self._http
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def get(self, url: str, kind: type[_Body]) -> _Body:
        """Return what stands at an address of the server; see ``post``."""
        return await self._short("GET", url, None, kind)

    async def post(self, url: str, body: Mapping[str, object], kind: type[_Body]) -> _Body:
        """Make a request that is answered in one piece, within the patience; raises ``RemoteFailure``."""
        return await self._short("POST", url, body, kind)

    async def stream(self, body: Mapping[str, object], kind: type[_Body]) -> AsyncGenerator[_Body, None]:
        """Yield the chunks of a chat's answer as they come; raises ``RemoteFailure``.

        Closing the generator closes the connection, and so tells the server to stop. Comments that servers
        send to keep a connection open are no progress.
        """
        self._require_open()
        with self._failures_in_our_words():
            stream = await self._within_patience(
                self._client.post(
                    "/chat/completions",
                    body=dict(body),
                    cast_to=object,
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
            )
            try:
                while (chunk := await self._within_patience(anext(stream, None))) is not None:
                    yield self._parsed(kind, chunk)
            finally:
                with anyio.CancelScope(shield=True):
                    await stream.close()

    def says_no(self, said: object) -> RemoteFailure:
        """Return the failure that a server tells of in the middle of an answer."""
        return RemoteFailure(EngineFailed(f"{self.address.base} gave up: {self._complaint(said)}."))

    def broke_off(self) -> RemoteFailure:
        """Return the failure of an answer that has no end."""
        return RemoteFailure(
            EngineDied(
                f"The connection to {self.address.base} ended in the middle of an answer.",
                hint="Ask again; the server's own log may say why.",
            ),
            Transience(is_answering=False),
        )

    async def _short(
        self, method: str, url: str, body: Mapping[str, object] | None, kind: type[_Body]
    ) -> _Body:
        self._require_open()
        seconds = max(_SHORT_SECONDS, self._patience)
        try:
            with anyio.fail_after(seconds):
                response = await self._http.request(method, url, json=body)
        except TimeoutError as error:
            raise self._stalled(seconds) from error
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise self._refused(response)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise self._no_answer() from error

    def _require_open(self) -> None:
        if self._http.is_closed:
            raise RemoteFailure(
                EngineDied(
                    f"The connection to {self.address.base} was closed while it was needed.",
                    hint="Ask again.",
                )
            )

    @contextmanager
    def _failures_in_our_words(self) -> Iterator[None]:
        try:
            yield
        except openai.APIError as error:
            raise self._failure(error) from error
        except (ValueError, httpx2.HTTPError) as error:  # of a line that is no JSON, or no UTF-8
            raise self._no_answer() from error

    async def _within_patience(self, awaited: Awaitable[_Result]) -> _Result:
        with anyio.move_on_after(self._patience):
            return await awaited
        raise self._stalled(self._patience)

    def _parsed(self, kind: type[_Body], data: object) -> _Body:
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            raise self._no_answer() from error

    def _failure(self, error: openai.APIError) -> RemoteFailure:
        if isinstance(error, openai.APIStatusError):
            return self._refused(error.response)
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            # Before anything was sent, the server is not there; later, it has hung up.
            is_absent = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
            return self._unreachable(cause) if is_absent else self.broke_off()
        return self.says_no(error.body or error.message)

    def _refused(self, response: httpx2.Response) -> RemoteFailure:
        """Return the failure that a status stands for."""
        status, where = response.status_code, self.address.base
        if status in _NO_ENTRY:
            # What it says is not passed on: it may repeat the key.
            given = "the key that was sent" if self._api_key else "a request without a key"
            hint = "Set openai_api_key to a key that the server takes."
            return RemoteFailure(EngineUnavailable(f"{where} refuses {given}.", hint=hint))
        said = self._complaint(_json_of(response))
        if status in _NO_SUCH_DOOR or response.has_redirect_location:
            hint = "Correct openai_base_url: most servers want /v1 at its end. Or the model is gone."
            sentence = f"{where} has no OpenAI-compatible door, or not this model: {said}."
            return RemoteFailure(EngineUnavailable(sentence, hint=hint))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return self._busy(f"{where} takes no more questions for now", said, response)
        if status in _LOADING:
            return self._busy(f"{where} is not ready, perhaps loading its model", said, response)
        refusal = InvalidRequest if status in _NOT_SO else EngineFailed
        return RemoteFailure(refusal(f"{where} refuses with HTTP status {status}: {said}."))

    def _busy(self, sentence: str, said: str, response: httpx2.Response) -> RemoteFailure:
        seconds = _retry_after(response)
        reason = EngineBusy(
            f"{sentence}: {said}.",
            hint="Ask again in a moment.",
            retry_after_seconds=_ONE_MOMENT if seconds is None else max(1, round(seconds)),
        )
        return RemoteFailure(reason, Transience(is_answering=True, retry_after_seconds=seconds))

    def _unreachable(self, cause: BaseException | None) -> RemoteFailure:
        how = self._without_key(str(cause)).strip() or type(cause).__name__
        reason = EngineUnavailable(
            f"There is no answer from {self.address.base}: {how}.",
            hint="Is the server running there? The address is openai_base_url.",
        )
        return RemoteFailure(reason, Transience(is_answering=False))

    def _stalled(self, seconds: float) -> RemoteFailure:
        return RemoteFailure(
            EngineDied(
                f"{self.address.base} made no progress for {seconds:.0f} seconds.",
                hint="Ask again, or set patience_seconds higher if the server is just slow.",
            )
        )

    def _no_answer(self) -> RemoteFailure:
        return RemoteFailure(
            EngineFailed(
                f"{self.address.base} answered something that is no answer.",
                hint="Is openai_base_url the address of a server with an OpenAI-compatible API?",
            )
        )

    def _complaint(self, said: object) -> str:
        """Return what the server says, in a line, and never with the key in it."""
        text = said if isinstance(said, str) else ""
        with suppress(ValidationError):
            text = text or _Refusal.model_validate(said).said
        line = " ".join(self._without_key(text).split()).rstrip(".")
        if len(line) > _LONGEST_COMPLAINT:
            line = line[: _LONGEST_COMPLAINT - 1] + "…"
        return line or "it does not say why"

    def _without_key(self, text: str) -> str:
        """Return the text with the key left out, also as a library quotes bytes that no header can hold."""
        key = self._api_key.strip()
        for spelling in (key, repr(key.encode("utf-8", "surrogatepass"))[2:-1]) if key else ():
            text = text.replace(spelling, "…")
        return text

    async def _send_only_what_is_needed(self, request: httpx2.Request) -> None:
        for name in list(request.headers):
            if name not in _NEEDED_HEADERS:
                del request.headers[name]
        if self._api_key:
            request.headers["authorization"] = f"Bearer {self._api_key}"


def _json_of(response: httpx2.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return response.text if response.headers.get("content-type", "").startswith("text/plain") else ""


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that the server asks to wait; a date, or what is no finite time, is none said."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(max(0.0, seconds), _LONGEST_ASKED_SECONDS) if math.isfinite(seconds) else None
