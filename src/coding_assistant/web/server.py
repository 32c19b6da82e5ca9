"""Serve the application on loopback until it is told to stop.

The socket is bound before anything is served, so that a port in use is an error with an address in it.
Signals stop the server and nothing else: what the caller opened around it is closed by the caller.
"""

import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager

import anyio
import uvicorn

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.errors import InvalidSetting
from coding_assistant.web.app import create_app

GRACEFUL_SECONDS = 5
"""After that, what still runs is cut off: a reader that takes nothing must not keep the server alive."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

BACKLOG = 128


class _Server(uvicorn.Server):
    """Uvicorn, except that a signal only stops it: its own handling would raise the signal again.

    Raised again, SIGTERM ends the process before the assistant is closed and SIGINT cancels its closing.
    """

    def __init__(
        self, config: uvicorn.Config, *, stopping: anyio.Event, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell what is being served to end, and wait for it."""
        self._stopping.set()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop at a signal while serving; a second Ctrl-C stops waiting."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in STOP_SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


async def serve(
    assistant: AsyncAssistant,
    *,
    host: str,
    port: int,
    allowed_hosts: Collection[str] = (),
    announce: Callable[[str], None] = lambda _url: None,
) -> None:
    """Listen and serve as ``serve_on`` does.

    Raises ``InvalidSetting`` for an address that is not loopback's and for a port that cannot be had.
    """
    with listen(host, port) as listener:
        await serve_on(listener, assistant, allowed_hosts=allowed_hosts, announce=announce)


async def serve_on(
    listener: socket.socket,
    assistant: AsyncAssistant,
    *,
    allowed_hosts: Collection[str] = (),
    announce: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; ``announce`` is given the server's URL once it answers.

    Streams are then ended; at most ``GRACEFUL_SECONDS`` later this returns. Connections that came while the
    assistant was being opened are served first.
    """
    app = create_app(assistant, allowed_hosts=allowed_hosts)
    config = uvicorn.Config(
        app,
        access_log=False,  # its lines would hold what was searched for
        log_config=None,
        server_header=False,
        proxy_headers=False,  # whoever sends them is not a proxy of ours
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    server = _Server(config, stopping=app.state.stopping, announce=lambda: announce(url_of(listener)))
    await server.serve(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a loopback address; port 0 takes a free one.

    Raises ``InvalidSetting``.
    """
    address = _loopback_address(host)
    family = socket.AF_INET if isinstance(address, ipaddress.IPv4Address) else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _unbindable(error, host, port) from error
    return listener


def _loopback_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that a host setting means, if nobody outside this machine can reach it."""
    if host == "localhost":
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise InvalidSetting(f"The host {host!r} is not an address.", hint=_LOOPBACK_HINT) from None
    if not address.is_loopback:
        raise InvalidSetting(
            f"The server cannot listen on {host}: it has no API keys yet, so whoever reaches it could read"
            " your code and conversations.",
            hint=_LOOPBACK_HINT,
        )
    return address


_LOOPBACK_HINT = (
    "Use 127.0.0.1. To reach it from another machine, open a tunnel there:"
    " ssh -L 8000:127.0.0.1:8000 THIS_MACHINE"
)


def _unbindable(error: OSError, host: str, port: int) -> InvalidSetting:
    if error.errno == errno.EADDRINUSE:
        return InvalidSetting(
            f"Port {port} on {host} is in use by another program.",
            hint=f"Stop that program, or choose another port: coding-assistant serve --port {port + 1}",
        )
    if error.errno == errno.EACCES:
        return InvalidSetting(
            f"Port {port} is reserved for the system.",
            hint="Choose a port above 1023: coding-assistant serve --port 8000",
        )
    return InvalidSetting(f"The server cannot listen on {host}, port {port}: {error.strerror}.")


def url_of(listener: socket.socket) -> str:
    """Return where a socket of ``listen`` is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
