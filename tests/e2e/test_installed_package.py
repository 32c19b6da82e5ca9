"""The wheel, installed by pip into a fresh environment from the pinned wheels, used from its command line."""

import hashlib
import json
import os
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_SECONDS = 300  # for one command; with the cores five times oversubscribed, an answer took 60

pytestmark = pytest.mark.timeout(600)  # the first test pays for the environment


def pip(python: Path | str, *arguments: str) -> None:
    done = subprocess.run(
        [python, "-I", "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    pip(sys.executable, "wheel", *offline, "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("coding_assistant-*.whl"))


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel and what the wheel asks for, and nothing of the checkout."""

    bin: Path
    home: Path
    project: Path

    def run(self, *arguments: str, model: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"CODING_ASSISTANT_HOME": str(self.home)}
        if model:
            environment["MODEL_NAME"] = str(model)
        return subprocess.run(
            [self.bin / "coding-assistant", *arguments],
            cwd=self.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "environment", with_pip=True)
    binaries = folder / "environment" / "bin"
    constraints = str(ROOT / "constraints.txt")
    pinned_pip = folder / "pip.txt"
    pinned_pip.write_text(pip_record(constraints))
    asked = folder / "asked.txt"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    asked.write_text(f"coding-assistant @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    wheels_only = ["install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    pip(binaries / "python", *wheels_only, "-r", str(pinned_pip))
    pip(binaries / "python", *wheels_only, "-c", constraints, "-r", str(asked))
    project = folder / "project"
    write_project(project)
    return Installed(bin=binaries, home=folder / "home", project=project)


def pip_record(constraints: str) -> str:
    """The pinned pip: the one that an environment is born with may be too old for hashes in constraints."""
    text = Path(constraints).read_text()
    start = text.index("\npip==") + 1
    return text[start : text.index("\nplatformdirs==")] + "\n"


def write_project(folder: Path) -> None:
    (folder / ".git").mkdir(parents=True)
    (folder / "retry.py").write_text(
        '''"""When to try again."""

RETRY_LIMIT = 5


def should_retry(attempt: int, status: int) -> bool:
    """Servers' errors are worth another try, up to RETRY_LIMIT."""
    return attempt < RETRY_LIMIT and status >= 500
'''
    )
    (folder / "README.md").write_text("# Courier\n\nSends parcels.\n")


def test_the_wheel_carries_the_whole_package_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    expected = {
        file.relative_to(source).as_posix()
        for file in (source / "coding_assistant").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {Path(name).name for name in archive.namelist() if ".dist-info/" in name}

    assert carried == expected
    assert about >= {"METADATA", "entry_points.txt", "LICENSE"}


def test_the_installed_package_is_its_own(installed: Installed) -> None:
    found = subprocess.run(
        [installed.bin / "python", "-I", "-c", "import coding_assistant; print(coding_assistant.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(installed.bin.parent)


def test_version(installed: Installed, wheel: Path) -> None:
    outcome = installed.run("version")

    assert outcome.returncode == 0, outcome.stderr
    assert wheel.name.split("-")[1] in outcome.stdout


def test_search_finds_code_without_a_model(installed: Installed) -> None:
    outcome = installed.run("search", "retry limit", "--json")

    assert outcome.returncode == 0, outcome.stderr
    first = json.loads(outcome.stdout.splitlines()[0])
    assert first["path"] == "retry.py"
    assert "RETRY_LIMIT" in first["text"]


@pytest.mark.model
def test_doctor_finds_nothing_missing(installed: Installed, smollm2: Path) -> None:
    outcome = installed.run("doctor", model=smollm2)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.model
def test_a_question_is_answered_from_the_project(installed: Installed, smollm2: Path) -> None:
    question = "Which statuses are worth a retry?"
    outcome = installed.run("ask", question, "--max-tokens", "32", "--json", model=smollm2)

    assert outcome.returncode == 0, outcome.stderr
    answer = json.loads(outcome.stdout)
    assert answer["response"].strip()
    assert "retry.py" in {source["path"] for source in answer["sources"]}
    assert answer["finish_reason"] in {"complete", "length"}
