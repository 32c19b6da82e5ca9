import io
from pathlib import Path

import pytest

from coding_assistant.cli.screen import Screen
from coding_assistant.cli.weights import ensure_model
from coding_assistant.settings import Settings


def said_at_the_start(home: Path, address: str) -> str:
    stream = io.StringIO()
    settings = Settings(home=home, engine="openai", openai_base_url=address, openai_model="coder")
    ensure_model(settings, Screen(stream), pulls_unasked=True)
    return stream.getvalue()


def test_where_code_goes_is_said_even_where_nobody_looks(tmp_path: Path) -> None:
    said = said_at_the_start(tmp_path, "http://gpu.example.org/v1")

    assert "questions and code go to gpu.example.org, unencrypted" in " ".join(said.split())


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080/v1", "http://10.0.0.5:8000/v1"])
def test_a_server_nearby_needs_no_word(tmp_path: Path, address: str) -> None:
    assert said_at_the_start(tmp_path, address) == ""
