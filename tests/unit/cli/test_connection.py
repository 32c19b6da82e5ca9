import io
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
