"""Which assistant a command speaks to: the server that runs, or one of its own in this process."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from coding_assistant.cli.bridge import Bridge, bridge
from coding_assistant.cli.rendering import holder_in_words
from coding_assistant.cli.screen import Screen, Span
from coding_assistant.contract import AssistantCalls
from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import DataDirectoryLocked
from coding_assistant.settings import Settings

PATIENCE_SECONDS = 10.0
"""How long another command may keep the data directory: most take under a second, an answer longer."""

POLL_SECONDS = 0.2

_CONNECT_SECONDS = 1.0
"""On this machine a connection is taken or refused in under a millisecond."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An assistant, and the bridge to its event loop.

    ``url`` is the running server's, whose settings may be others than this command's; None: it is in here.
    """

    calls: AssistantCalls
    bridge: Bridge
    url: str | None = None


def server_url(settings: Settings) -> str | None:
    """Return where the server answers that holds the data directory; None when none does."""
    holder = DataDirectory(settings.home).holder()
    return None if holder is None else holder.url


@contextmanager
def connect(
    settings: Settings,
    *,
    purpose: str,
    screen: Screen,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[Connection]:
    """Give the assistant of the data directory.

    Raises ``DataDirectoryLocked`` when another command has not finished in time.
    """
    # Loading the assistant takes a third of a second: `version`, `--help` and usage errors do without.
    from coding_assistant.assistant import AsyncAssistant  # noqa: PLC0415
    from coding_assistant.client import RemoteAssistant  # noqa: PLC0415

    deadline = time.monotonic() + patience_seconds
    with bridge() as crossing, ExitStack() as stack:
        while True:
            url = _wait_for_turn(settings, screen, deadline=deadline)
            if url is not None:
                remote = stack.enter_context(crossing.within(RemoteAssistant(url)))
                yield Connection(remote, crossing, url)
                return
            try:
                opening = crossing.within(AsyncAssistant.open(settings, purpose=purpose))
                assistant = stack.enter_context(opening)
            except DataDirectoryLocked:
                if time.monotonic() > deadline:
                    raise
                continue  # a third command was quicker
            yield Connection(assistant, crossing)
            return


def _wait_for_turn(settings: Settings, screen: Screen, *, deadline: float) -> str | None:
    """Wait until no other command holds the data directory; return the server's address if one runs."""
    directory = DataDirectory(settings.home)
    told = False
    while (holder := directory.holder()) is not None:
        listens = holder.url is not None and _listens(holder.url)
        if listens or time.monotonic() > deadline:
            return holder.url
        if not told:
            screen.line(Span(f"Waiting for {holder_in_words(holder)} to finish …", "dim"))
            told = True
        time.sleep(POLL_SECONDS)
    return None


def _listens(url: str) -> bool:
    """Return whether somebody takes connections there: a server that is stopping takes none any more."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
