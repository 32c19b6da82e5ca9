"""The servers that are asked: a bare one and the product, of one engine build, on one model."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from conversations_bench.plain_server import plain_service
from conversations_bench.service import Service, product_environment


class IndexFailed(Exception):
    """The product could not index a package; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs the model. ``program`` is a ``llama-server``, empty for the bundled engine."""

    model: Path
    program: str
    context_tokens: int
    threads: int

    @property
    def name(self) -> str:
        """The build's name and version."""
        if not self.program:
            return f"xllamacpp {importlib.metadata.version('xllamacpp')}"
        told = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True)
        return f"llama-server, {(told.stderr or told.stdout).splitlines()[0]}"

    def bare(self, folder: Path) -> Service:
        """Return the engine's own server as a process to start."""
        return plain_service(
            model=str(self.model),
            context_tokens=self.context_tokens,
            threads=self.threads,
            log=folder / "bare.log",
            program=self.program,
        )

    def product(self, home: Path, projects: Iterable[Path], settings: Mapping[str, str]) -> Service:
        """Return the product as a process to start, after it has indexed the projects."""
        own = {"N_THREADS": str(self.threads), "CONTEXT_TOKENS": str(self.context_tokens)}
        if self.program:
            own["LLAMA_SERVER"] = self.program
        environment = product_environment(home) | {
            f"CODING_ASSISTANT_{name}": value for name, value in {**own, **settings}.items()
        }
        command = [sys.executable, "-m", "coding_assistant", "serve", "--model", str(self.model)]
        for project in projects:
            _index(project, environment)
            command += ["--project", str(project)]
        return Service(command, environment=environment, ready_path="/healthz", log=home.with_suffix(".log"))


def _index(project: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coding_assistant", "index", str(project)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise IndexFailed(done.stderr.strip())
