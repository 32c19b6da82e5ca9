import contextlib
import socket
import threading

import pytest

from support.loopback import LoopbackGuard, OutboundRefused, is_local

ELSEWHERE = "192.0.2.1"  # reserved for documentation: even unguarded, nobody answers there


@pytest.mark.parametrize("host", [None, "", "localhost", b"localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_local(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["example.org", ELSEWHERE, "10.0.0.1", "::", "localhost.example.org"])
def test_other_machines_are_not_local(host: object) -> None:
    assert not is_local(host)


def test_a_connection_to_another_machine_is_refused(loopback_guard: LoopbackGuard) -> None:
    with socket.socket() as unconnected, pytest.raises(OutboundRefused):
        unconnected.connect((ELSEWHERE, 80))
    loopback_guard.refused.clear()


def test_looking_up_another_machine_is_refused(loopback_guard: LoopbackGuard) -> None:
    with pytest.raises(OutboundRefused):
        socket.getaddrinfo("example.org", 443)
    loopback_guard.refused.clear()


def send_in_a_thread() -> None:
    def swallow() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as unconnected, contextlib.suppress(OutboundRefused):
            unconnected.sendto(b"hello", (ELSEWHERE, 53))

    thread = threading.Thread(target=swallow)
    thread.start()
    thread.join()


def test_a_refusal_that_a_thread_swallowed_is_told_in_the_end(loopback_guard: LoopbackGuard) -> None:
    with pytest.raises(OutboundRefused, match=ELSEWHERE), loopback_guard.watching():
        send_in_a_thread()
    loopback_guard.refused.clear()


def test_loopback_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
