"""Run one step of a build: its lines as they come, all of them in a log, and its end in order.

Knows nothing of what the step does.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coding_assistant.child_process import child_environment

_STEP_PROCESS: Final = "coding_assistant.inference.native_build.step_process"
_TAIL_LINES: Final = 15

# Ninja waits for nothing once it has ended its compilers; pip removes what it has unpacked.
_SECONDS_TO_END: Final = 10.0


class StepFailed(Exception):
    """A command ended with an error; ``tail`` holds its last lines."""

    def __init__(self, tail: Sequence[str]) -> None:
        super().__init__("\n".join(tail))
        self.tail = tuple(tail)


@dataclass(frozen=True, slots=True)
class Steps:
    """Where steps log, and the environment that they run in."""

    log: Path
    environment: Mapping[str, str]

    def run(self, command: Sequence[str], **variables: str) -> Generator[str, None, None]:
        """Run a command to its end and yield the lines that it prints, on either stream.

        ``variables`` are added to the environment. Closing the generator ends the command, and the processes
        that it started. Raises ``StepFailed``, or an ``OSError`` of the log.
        """
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            process = self._start(command, variables)
            try:
                for line in process.stdout or ():
                    log.write(line)
                    log.flush()
                    tail.append(line.rstrip())
                    yield line.rstrip()
                process.wait()
            finally:
                _end(process)
        if process.returncode != 0:
            raise StepFailed(tail)

    def _start(self, command: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603  -- the commands are the build's own
            [sys.executable, "-P", "-m", _STEP_PROCESS, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=self.log.parent,  # the user's own is often a repository, of anybody's
            env={**child_environment(self.environment), **variables},
            start_new_session=True,  # Ctrl-C in the terminal is for us, who end the step in order
        )


def _end(process: subprocess.Popen[str]) -> None:
    """End a process that still runs, and give back its pipe."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
