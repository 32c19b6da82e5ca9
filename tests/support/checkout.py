"""A small checkout: the real ``run`` and constraints around a package that says what it was given.

What it knows: the files that ``run`` reads. The package needs nothing from the index but the build tools, so
that a whole set-up takes seconds.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SETUP_SECONDS = 100  # one took 4 s where this was written

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "coding-assistant"
version = "0"
dependencies = ["pip"]

[project.scripts]
coding-assistant = "coding_assistant.cli:main"

[dependency-groups]
dev = []

[tool.hatch.build]
dev-mode-dirs = ["src"]
"""

CLI = """\
import json, os, sys

def main():
    print(json.dumps({"arguments": sys.argv[1:], "directory": os.getcwd()}))
    sys.exit(int(os.environ.get("EXIT_STATUS", "0")))
"""


@dataclass(frozen=True)
class Outcome:
    """How a ``./run`` ended."""

    status: int
    output: str
    told: str

    @property
    def arguments(self) -> list[str]:
        """What the command was given."""
        arguments: list[str] = json.loads(self.output)["arguments"]
        return arguments

    @property
    def directory(self) -> Path:
        """Where the command found itself."""
        return Path(json.loads(self.output)["directory"])


class Checkout:
    """A folder that ``run`` takes for its checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        package = folder / "src" / "coding_assistant"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "cli.py").write_text(CLI)
        self.engine = folder / "src" / "xllamacpp.py"
        self.engine.touch()
        self.pyproject = folder / "pyproject.toml"
        self.pyproject.write_text(PYPROJECT)
        self.constraints = folder / "constraints.txt"
        shutil.copy(ROOT / "constraints.txt", self.constraints)
        self.script = folder / "run"
        shutil.copy(ROOT / "run", self.script)

    def adopt(self, environment: Path) -> None:
        """Put a copy of an environment where ``run`` would have begun its own."""
        own = self.folder / ".venv"
        shutil.copytree(environment, own, symlinks=True)
        (own / "made-by-run").touch()

    def start(
        self,
        *arguments: str,
        directory: Path | None = None,
        script: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start ``./run`` in a session of its own, as a terminal would."""
        command: Sequence[str] = [str(script or self.script), *arguments]
        return subprocess.Popen(
            command,
            cwd=directory or self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        *arguments: str,
        directory: Path | None = None,
        script: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run ``./run`` to its end."""
        return finish(self.start(*arguments, directory=directory, script=script, environment=environment))


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for the end of a process that was started with ``start``."""
    output, told = process.communicate(timeout=SETUP_SECONDS)
    return Outcome(process.returncode, output, told)
