"""The Python API as a script uses it, with a real model."""

from pathlib import Path

import pytest

from coding_assistant import Assistant, QueryRequest
from coding_assistant.errors import InvalidProject


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "retry.py").write_text("MAX_RETRIES = 5\n\n\ndef retry(call):\n    return call()\n")
    return root


@pytest.mark.model
def test_a_script_asks_goes_on_and_searches(tmp_path: Path, project: Path, smollm2: Path) -> None:
    with Assistant.open(project, model=str(smollm2), home=tmp_path / "home") as assistant:
        first = assistant.query(QueryRequest(query="What is MAX_RETRIES?", max_tokens=24, temperature=0))
        second = assistant.query(
            QueryRequest(query="and why?", conversation_id=first.conversation_id, max_tokens=8)
        )

        assert first.response
        assert first.sources[0].path == "retry.py"
        assert second.session_id == first.session_id
        assert assistant.search("MAX_RETRIES")[0].path == "retry.py"
        assert assistant.index().files == 1


def test_an_error_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject), Assistant.open(tmp_path / "nowhere", home=tmp_path / "home"):
        pass
