"""The privacy promise as code: nothing that the suite runs in this process may speak to another machine.

It knows no product code. Child processes are out of its sight; the tests that start the product's own
processes cover those.
"""

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Name look-ups are guarded too: asking a name server is a message to another machine already.
_NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_ADDRESSES = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


class OutboundRefused(AssertionError):  # an OSError might be handled by the very code under test
    """Something tried to reach a machine other than this one."""


def is_local(host: object) -> bool:
    """Tell whether a host, by name or number, can only be this machine."""
    if host is None:
        return True
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if name in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refusal(event: str, arguments: tuple[object, ...]) -> str | None:
    """Return what an audit event of the interpreter tried to reach, or None when it stays on this machine."""
    if event in _NAMES:
        return None if is_local(arguments[0]) else f"{event}({arguments[0]!r})"
    if event in _ADDRESSES:
        address = arguments[1]  # a UNIX socket's is a path, and None means "where it is connected to"
        if isinstance(address, tuple) and not is_local(address[0]):
            return f"{event}({address!r})"
    return None


class LoopbackGuard:
    """Refuses what leaves the machine, and remembers it: an error in a thread fails no test by itself."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def install(self) -> None:
        """Begin; the interpreter cannot take an audit hook out again, so this holds until its end."""
        sys.addaudithook(self._audit)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise OutboundRefused at the end when anything was refused meanwhile."""
        self.refused.clear()
        yield
        if self.refused:
            raise OutboundRefused(f"tried to leave this machine: {', '.join(self.refused)}")

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith("socket.") and (reached := refusal(event, arguments)):
            self.refused.append(reached)
            raise OutboundRefused(f"{reached} leaves this machine")
