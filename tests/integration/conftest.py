"""What many of these tests begin with."""

from pathlib import Path

import pytest

from support.http_server import make_project
from support.terminal import Command
from support.tiny_model import TinyModel


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command line in a small project, with a data directory that is not there yet."""
    return Command(home=tmp_path / "home", directory=make_project(tmp_path))


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """A model of some kilobytes that the real engine runs, and that says nothing of sense."""
    return TinyModel("Llama 2 tiny").write(tmp_path)
