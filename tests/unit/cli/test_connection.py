import io
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from coding_assistant.cli.connection import connect
from coding_assistant.cli.screen import Screen
from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import DataDirectoryLocked
from coding_assistant.settings import Settings


def test_another_command_is_named_while_it_is_waited_for_and_in_the_refusal(tmp_path: Path) -> None:
    side = io.StringIO()
    with (
        DataDirectory(tmp_path).hold("chat"),
        pytest.raises(DataDirectoryLocked, match="chat"),
        connect(Settings(home=tmp_path), purpose="ask", screen=Screen(side), patience_seconds=0.1),
    ):
        pass
    assert side.getvalue().startswith("Waiting for `chat` (process ")
    assert side.getvalue().count("\n") == 1


def test_a_free_data_directory_is_taken_at_once_and_let_go(tmp_path: Path) -> None:
    side = io.StringIO()
    directory = DataDirectory(tmp_path)
    with connect(Settings(home=tmp_path), purpose="ask", screen=Screen(side)) as connection:
        holder = directory.holder()
        assert holder is not None
        assert holder.purpose == "ask"
        assert connection.bridge.run(connection.calls.conversations()) == []
    assert directory.holder() is None
    assert side.getvalue() == ""


def test_a_server_that_does_not_listen_any_more_is_waited_for(tmp_path: Path) -> None:
    side = io.StringIO()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with ExitStack() as stopping:
        stopping.enter_context(DataDirectory(tmp_path).hold("serve", url))

        class Told(io.StringIO):
            """Where the wait is told; the server ends when it is."""

            def write(self, text: str) -> int:
                stopping.close()
                return side.write(text)

        with connect(Settings(home=tmp_path), purpose="list", screen=Screen(Told())) as connection:
            assert connection.bridge.run(connection.calls.conversations()) == []
    assert "`serve`" in side.getvalue()


def test_a_holder_that_cannot_be_made_out_has_no_process(tmp_path: Path) -> None:
    side = io.StringIO()
    directory = DataDirectory(tmp_path)
    with directory.hold("chat"):
        (tmp_path / "holder.json").unlink()
        connecting = connect(
            Settings(home=tmp_path), purpose="ask", screen=Screen(side), patience_seconds=0.5
        )
        with pytest.raises(DataDirectoryLocked), connecting:
            pass
    assert side.getvalue() == "Waiting for another program to finish …\n"
