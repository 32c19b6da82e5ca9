"""How fast each model reads on this machine, and how much code it can therefore be shown at once.

What is known is in a file of derived data: whoever deletes it loses a few measurements.
"""

import json
import os
import platform
import threading
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from coding_assistant.inference.llama import default_threads

# A batch or two measure the start of reading more than its speed.
SHORTEST_READING_TOKENS: Final = 128

# Enough that one reading beside a busy compiler does not count, and few enough to follow a new machine load.
_READINGS_KEPT: Final = 7

FEWEST_SOURCE_TOKENS: Final = 600
MOST_SOURCE_TOKENS: Final = 4_000
USUAL_SOURCE_TOKENS: Final = 1_200

_Speeds: TypeAlias = dict[str, dict[str, list[float]]]
"""Tokens per second, the newest last, by machine and model."""

_FORMAT: Final = TypeAdapter(_Speeds)


class ReadingSpeeds:
    """Remembers how fast models read lately. Made and added to, it blocks; it never fails for its file."""

    def __init__(self, file: Path, *, machine: str | None = None) -> None:
        self._file = file
        self._machine = this_machine() if machine is None else machine
        self._lock = threading.Lock()
        self._known = self._read()

    def of(self, model: str) -> float | None:
        """Return the tokens that the model reads in a second, None while that is not known."""
        with self._lock:
            speeds = self._known.get(self._machine, {}).get(model)
        return median(speeds) if speeds else None

    def add(self, model: str, tokens: int, seconds: float) -> None:
        """Remember a reading; one too short to tell the speed is ignored."""
        if tokens < SHORTEST_READING_TOKENS or seconds <= 0:
            return
        with self._lock:
            speeds = self._known.setdefault(self._machine, {}).setdefault(model, [])
            speeds.append(round(tokens / seconds, 2))
            del speeds[:-_READINGS_KEPT]
            self._write(self._known)

    def _read(self) -> _Speeds:
        try:
            return _FORMAT.validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return {}

    def _write(self, speeds: _Speeds) -> None:
        draft = self._file.with_suffix(".new")
        # Without it, sources are chosen for a usual machine: no reason to fail an answer.
        with suppress(OSError):
            draft.write_text(json.dumps(speeds, indent=1), encoding="utf-8")
            draft.chmod(0o600)
            draft.replace(self._file)


def source_budget(speed: float | None, *, first_token_seconds: float, other_tokens: int) -> int:
    """Return how many tokens of sources a question may have so that its answer begins in time.

    ``speed`` is in tokens a second; ``other_tokens`` is what has to be read besides: everything that the
    slot does not hold already.
    """
    if speed is None:
        return USUAL_SOURCE_TOKENS
    readable = int(speed * first_token_seconds) - other_tokens
    return min(max(readable, FEWEST_SOURCE_TOKENS), MOST_SOURCE_TOKENS)


def this_machine() -> str:
    """Return what a model's speed depends on: the processor and the threads that run on it."""
    return f"{_processor_name()}, {default_threads()} threads"


def _processor_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or os.name
