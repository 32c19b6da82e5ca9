import socket

import pytest

from coding_assistant.errors import InvalidSetting
from coding_assistant.web.server import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "::1"])
def test_listens_on_loopback(host: str) -> None:
    with listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        assert listener.getsockname()[1] > 0


OUTSIDE = [
    "0.0.0.0",  # noqa: S104  -- what is refused
    "::",
    "192.168.1.2",
    "8.8.8.8",
    "example.org",
    "",
    "127.0.0.1.nip.io",
]


@pytest.mark.parametrize("host", OUTSIDE)
def test_refuses_what_others_can_reach(host: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        listen(host, 0)
    assert "ssh -L" in caught.value.hint


def test_a_port_in_use_is_named_and_another_suggested() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSetting, match=str(port)) as caught:
            listen("127.0.0.1", port)
        assert "--port" in caught.value.hint


def test_a_port_is_free_again_when_its_server_has_stopped() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        connection, _ = first.accept()
        connection.close()
        client.close()
    with listen("127.0.0.1", port):
        pass
