import os
import subprocess
import sys
from pathlib import Path

import pytest

from coding_assistant.child_process import child_environment


@pytest.mark.parametrize("import_path", ["", ":", ".", "lib:", "::./lib"])
def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, import_path: str) -> None:
    for folder in (tmp_path, tmp_path / "lib"):
        folder.mkdir(exist_ok=True)
        (folder / "hostile.py").write_text("")
    environment = child_environment({**os.environ, "PYTHONPATH": import_path})

    run = subprocess.run(
        [sys.executable, "-P", "-c", "import hostile"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "No module named 'hostile'" in run.stderr


@pytest.mark.parametrize("name", ["CODING_ASSISTANT_OPENAI_API_KEY", "coding_assistant_openai_api_key"])
def test_no_child_gets_a_setting_and_least_of_all_a_key(name: str) -> None:
    assert child_environment({"HOME": "/home/me", name: "secret"}) == {"HOME": "/home/me"}


def test_all_else_is_inherited() -> None:
    inherited = {"HOME": "/home/me", "PYTHONPATH": ":/one:two:/three:"}

    assert child_environment(inherited) == {"HOME": "/home/me", "PYTHONPATH": "/one:/three"}
    assert child_environment({"HOME": "/home/me"}) == {"HOME": "/home/me"}
