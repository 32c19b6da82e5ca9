"""How fast each engine reads and writes with a model here, as ``engine show --measure`` found it.

What is known is in a file of derived data: whoever deletes it loses some measurements.
"""

from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from coding_assistant.domain import GenerationEnded, GenerationRequest
from coding_assistant.errors import EngineFailed
from coding_assistant.inference.processor import this_processor
from coding_assistant.protocols import Engine

READ_TOKENS: Final = 512
WRITTEN_TOKENS: Final = 32

# Counting goes on: a model that could end its answer would write too little to tell its speed.
_COUNT_TO: Final = 1_000

_WARMING_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """Tokens a second, and when they were counted, in UTC, ISO 8601."""

    reading: float
    writing: float
    measured_at: str


_Speeds: TypeAlias = dict[str, dict[str, dict[str, EngineSpeed]]]
"""By machine, engine and model."""

_FORMAT: Final = TypeAdapter(_Speeds)


class EngineSpeeds:
    """Remembers what was measured on this machine. Blocking; it never fails for its file."""

    def __init__(self, file: Path, *, machine: str | None = None) -> None:
        self._file = file
        self._machine = this_processor().name if machine is None else machine

    def of(self, engine: str) -> dict[str, EngineSpeed]:
        """Return what is known of an engine, by model."""
        return self._read().get(self._machine, {}).get(engine, {})

    def add(self, engine: str, model: str, speed: EngineSpeed) -> None:
        """Remember a measurement in the place of the one before."""
        speeds = self._read()
        speeds.setdefault(self._machine, {}).setdefault(engine, {})[model] = speed
        draft = self._file.with_suffix(".new")
        with suppress(OSError):  # it was shown already
            draft.write_bytes(_FORMAT.dump_json(speeds, indent=1))
            draft.chmod(0o600)
            draft.replace(self._file)

    def _read(self) -> _Speeds:
        try:
            return _FORMAT.validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return {}


async def measure(engine: Engine) -> EngineSpeed:
    """Load the model, have it read 512 tokens that it has not read before, and write 32.

    Raises what ``Engine.load`` raises, and ``EngineFailed`` for an engine that writes nothing.
    """
    await engine.load()
    tokens = (await engine.tokenize(" ".join(map(str, range(_COUNT_TO)))))[:READ_TOKENS]
    await _ended(engine, tuple(reversed(tokens[:_WARMING_TOKENS])), max_tokens=1)
    ended = await _ended(engine, tokens, max_tokens=WRITTEN_TOKENS)
    if not (ended.new_tokens and ended.written_tokens and ended.reading_seconds and ended.writing_seconds):
        raise EngineFailed("The engine wrote nothing to measure.", hint="Try another model.")
    return EngineSpeed(
        reading=round(ended.new_tokens / ended.reading_seconds, 1),
        writing=round(ended.written_tokens / ended.writing_seconds, 1),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


async def _ended(engine: Engine, tokens: Sequence[int], *, max_tokens: int) -> GenerationEnded:
    request = GenerationRequest(
        tokens=tuple(tokens), slot=0, max_tokens=max_tokens, temperature=0.0, top_p=1.0
    )
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, GenerationEnded):
                return event
    raise EngineFailed("The engine ended without an answer.", hint="Try another model.")
