"""What every request must pass before anything else sees it, whatever its path.

A page in the same browser can reach a loopback address. So a request must name this server as its
host (a rebound name does not), must not come from another origin, and must carry JSON if it carries
anything, which a foreign page cannot send without asking first. There is no CORS: the answer to asking
is no. The guard knows no route, and so can forget none; paths count only for how long a body may be.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coding_assistant.web.problems import problem_response

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")

MAX_BODY_BYTES = 1024 * 1024
"""A question of 32,000 characters, each escaped as a surrogate pair, takes 384 kB."""

FRIENDLY_SITES = ("same-origin", "none")
"""What Sec-Fetch-Site says of our own page and of a typed address; programs send no such header."""

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer that does not bring its own."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: HTTPStatus
    code: str
    detail: str
    hint: str


_HOST_REFUSED = Refusal(
    HTTPStatus.MISDIRECTED_REQUEST,
    "host_refused",
    "The request names another host than this server.",
    "Use the address that the server printed when it started.",
)
_ORIGIN_REFUSED = Refusal(
    HTTPStatus.FORBIDDEN,
    "origin_refused",
    "The request comes from a page of another origin.",
    "Only pages of this server itself and programs without an Origin header are served.",
)
_NOT_JSON = Refusal(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "unsupported_media_type",
    "The body is not announced as JSON.",
    "Send it with the header Content-Type: application/json.",
)


def _too_large(most_bytes: int) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"The body is larger than {most_bytes:,} bytes.",
        "Send less.",
    )


class Guard:
    """Serve this machine's own programs and pages, refuse all others, and label every answer.

    ``allowed_hosts`` are further values of the Host header, port included, such as a tunnel's other end.
    ``body_bytes`` are the bounds of bodies for the paths that take longer ones.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str] = (),
        body_bytes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._serve(scope, receive, _labelled(send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        most_bytes = self._body_bytes.get(scope["path"], MAX_BODY_BYTES)
        refusal = self._foreign(scope, headers) or _unfit(headers, most_bytes=most_bytes)
        if refusal is None:
            body = await _read_body(receive, most_bytes=most_bytes)
            if body is not None:
                await self._app(scope, _replayed(body, receive), send)
                return
            refusal = _too_large(most_bytes)
        response = problem_response(
            scope,
            refusal.status,
            code=refusal.code,
            detail=refusal.detail,
            hint=refusal.hint,
            headers={"connection": "close"},  # a body that was not read must not become the next request
        )
        await response(scope, receive, send)

    def _foreign(self, scope: Scope, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0].lower(), scope):
            return _HOST_REFUSED
        own_origin = f"{scope['scheme']}://{hosts[0]}".lower()
        if any(origin.lower() != own_origin for origin in headers.getlist("origin")):
            return _ORIGIN_REFUSED
        if any(site not in FRIENDLY_SITES for site in headers.getlist("sec-fetch-site")):
            return _ORIGIN_REFUSED
        return None

    def _is_ours(self, host: str, scope: Scope) -> bool:
        return host in self._allowed_hosts or host in own_hosts(scope)


def own_hosts(scope: Scope) -> set[str]:
    """Return the Host values that mean the very socket on which the request came in."""
    server = scope.get("server")
    if server is None:
        return set()
    port = server[1]
    named = {f"{name}:{port}" for name in LOOPBACK_NAMES}
    is_default_port = port == {"http": 80, "https": 443}[scope["scheme"]]
    return named | set(LOOPBACK_NAMES) if is_default_port else named


def _unfit(headers: Headers, *, most_bytes: int) -> Refusal | None:
    """Return what is wrong with the body as the headers announce it."""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > most_bytes:
        return _too_large(most_bytes)
    has_body = int(length) > 0 or "transfer-encoding" in headers
    types = headers.getlist("content-type")
    is_json = [each.partition(";")[0].strip().lower() for each in types] == ["application/json"]
    return _NOT_JSON if has_body and not is_json else None


async def _read_body(receive: Receive, *, most_bytes: int) -> bytes | None:
    """Return the whole body, or None as soon as it is longer than it may be.

    The length is counted while it comes in, for a chunked body does not announce it.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > most_bytes:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body once, and afterwards what the connection gives."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


def _labelled(send: Send) -> Send:
    async def label(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return label
