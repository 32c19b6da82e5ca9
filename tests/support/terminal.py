"""The command itself, in a process of its own: with pipes, or behind a terminal that can press Ctrl-C."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

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
        """Run it to its end with pipes for its three streams."""
        process = self.start(*arguments, settings=settings)
        output, side = process.communicate(given, timeout=COMMAND_SECONDS)
        return Ended(process.returncode, output, side)

    def start(self, *arguments: str, settings: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        return subprocess.Popen(
            self._command(arguments),
            cwd=self.directory,
            env=self._environment(settings),
            stdin=subprocess.PIPE,
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
        """Start it, and see to its end."""
        with self.start(*arguments) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "coding_assistant", *arguments]

    def _environment(self, settings: Mapping[str, str] | None) -> dict[str, str]:
        own = {"CODING_ASSISTANT_HOME": str(self.home), "PYTHONIOENCODING": "utf-8"}
        return {**os.environ, **own, **(settings or {})}


def _until_hung_up(terminal: int) -> Iterator[bytes]:
    with suppress(OSError):  # Linux tells the end of a terminal's last reader as an I/O error
        while block := os.read(terminal, 65_536):
            yield block


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Interrupt a command as the terminal does: its whole process group."""
    os.killpg(process.pid, signal.SIGINT)
