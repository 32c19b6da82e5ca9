"""The promise that nothing leaves the machine, kept where there is nothing to leave by."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACE = ["unshare", "--net", "--map-root-user", "sh", "-c"]


def offline(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a network that has loopback and no way out of it."""
    script = 'ip link set lo up && exec "$@"'
    return subprocess.run(
        [*NAMESPACE, script, "sh", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    if not all(map(shutil.which, ("unshare", "ip"))):
        pytest.skip("this machine has no unshare or no ip: the offline run is not tried")
    variables = os.environ | {"CODING_ASSISTANT_HOME": str(tmp_path / "home")}
    if offline(["true"], variables).returncode:
        pytest.skip("this machine allows no network namespaces: the offline run is not tried")
    return variables


@pytest.mark.model
def test_a_question_is_answered_without_any_network(
    environment: dict[str, str], tmp_path: Path, smollm2: Path
) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    (project / "retry.py").write_text("MAX_RETRIES = 5\n")

    asking = [sys.executable, "-m", "coding_assistant", "ask", "What is MAX_RETRIES?"]
    options = ["--project", str(project), "--model", str(smollm2), "--max-tokens", "16", "--json"]
    outcome = offline([*asking, *options], environment)

    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["sources"][0]["path"] == "retry.py"
