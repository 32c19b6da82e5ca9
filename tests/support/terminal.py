"""The command itself: in this process, in one of its own, or behind a terminal that can press Ctrl-C."""

import io
import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from coding_assistant.cli.app import run

COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    status: int
    output: str
    side: str


@dataclass(frozen=True, slots=True)
class Command:
    """``coding-assistant`` with a data directory and a working directory."""

    home: Path
    directory: Path

    def run(self, *arguments: str, given: str = "", settings: Mapping[str, str] | None = None) -> Ended:
        """Run it to its end in this process, whose modules are read already: a start takes 1.5 s."""
        given_bytes, output, side = io.BytesIO(given.encode()), io.BytesIO(), io.BytesIO()
        with pytest.MonkeyPatch.context() as patch, chdir(self.directory), _logging_kept():
            for name, value in self._own_environment(settings).items():
                patch.setenv(name, value)
            for name, stream in {"stdin": given_bytes, "stdout": output, "stderr": side}.items():
                patch.setattr(sys, name, io.TextIOWrapper(stream, encoding="utf-8", write_through=True))
            status = run(arguments)
            return Ended(status, output.getvalue().decode(), side.getvalue().decode())

    def run_alone(self, *arguments: str, given: str = "", settings: Mapping[str, str] | None = None) -> Ended:
        """Run it to its end in a process of its own, with pipes for its three streams."""
        process = self.start(*arguments, settings=settings)
        output, side = process.communicate(given, timeout=COMMAND_SECONDS)
        return Ended(process.returncode, output, side)

    def start(
        self, *arguments: str, settings: Mapping[str, str] | None = None, stdin: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        return subprocess.Popen(
            self._command(arguments),
            cwd=self.directory,
            env=self._environment(settings),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def run_in_terminal(self, *arguments: str, typed: str) -> Ended:
        """Run it behind a terminal of its own, where both streams are one; ``typed`` lies ready."""
        keyboard, screen = pty.openpty()
        os.write(keyboard, typed.encode())
        with subprocess.Popen(
            self._command(arguments),
            cwd=self.directory,
            env=self._environment({"TERM": "xterm", "COLUMNS": "100"}),
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
        ) as process:
            os.close(screen)
            seen = b"".join(_until_hung_up(keyboard))
            os.close(keyboard)
            return Ended(process.wait(COMMAND_SECONDS), seen.decode().replace("\r\n", "\n"), "")

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start it with nothing to read, and see to its end."""
        with self.start(*arguments, stdin=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "coding_assistant", *arguments]

    def _environment(self, settings: Mapping[str, str] | None) -> dict[str, str]:
        return {**os.environ, "PYTHONIOENCODING": "utf-8", **self._own_environment(settings)}

    def _own_environment(self, settings: Mapping[str, str] | None) -> dict[str, str]:
        return {"CODING_ASSISTANT_HOME": str(self.home), **(settings or {})}


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Give the command a logger without handlers, as it finds it; it may close what it puts there."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = handlers
        root.setLevel(level)


def _until_hung_up(terminal: int) -> Iterator[bytes]:
    with suppress(OSError):  # Linux tells the end of a terminal's last reader as an I/O error
        while block := os.read(terminal, 65_536):
            yield block


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Interrupt a command as the terminal does: its whole process group."""
    os.killpg(process.pid, signal.SIGINT)
