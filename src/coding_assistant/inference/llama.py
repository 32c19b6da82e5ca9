"""LlamaEngine: a GGUF model behind ``protocols.Engine``, in a process of its own.

Loads at the first call that needs the model, starts the process anew when it has died, and gives up when it
dies again and again. Knows nothing of conversations: which slot goes to whom is decided with ``slots``.
"""

import os
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import psutil

from coding_assistant.domain import (
    EngineEvent,
    EngineInfo,
    GenerationRequest,
    Message,
    ModelSpec,
    PromptRead,
)
from coding_assistant.errors import (
    CodingAssistantError,
    DataDirectoryUnusable,
    EngineDied,
    EngineUnavailable,
    InvalidRequest,
    ModelBroken,
)
from coding_assistant.inference import gguf, memory
from coding_assistant.inference.control_groups import processor_quota
from coding_assistant.inference.encoding import PromptEncoder, read_traits
from coding_assistant.inference.engine_programs import ProgramSearch
from coding_assistant.inference.gguf import GgufHeader
from coding_assistant.inference.identities import snapshot_identity, vocabulary_identity
from coding_assistant.inference.model_kinds import require_answers
from coding_assistant.inference.server_client import ServerClient, ServerLost
from coding_assistant.inference.server_process import ServerProcess
from coding_assistant.inference.server_protocol import ServerSettings
from coding_assistant.inference.server_slots import ServerSlots
from coding_assistant.inference.starting import GpuOptions, ModelStarter, StartedModel
from coding_assistant.inference.thinking import ThoughtStyle, apart, thought_style
from coding_assistant.inference.used_format import used_format

MOST_DEATHS: Final = 3
DEATHS_WITHIN_SECONDS: Final = 300.0

# A batch takes a 7B model on two old cores some ten seconds; a machine that swaps is several times slower.
PATIENCE_SECONDS: Final = 180.0

# While a batch is read no other slot writes, and llama.cpp's 2,048 tokens are half a minute on a CPU. It
# takes 64 tokens at once, and 128 a little faster than those (1.5 billion parameters: 54 and 48 a second).
BATCH_TOKENS: Final = 128


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to run a model.

    ``context_tokens`` is what one conversation may hold, prompt and answer together: every one of the
    ``slots`` has so much, and memory is taken for all of them at once; ``shrinks`` lets it be less where
    memory is short. ``threads`` None: one a physical core.
    ``patience_seconds`` is how long the engine may make no progress on anything before it counts as hung.
    ``snapshot_folder`` is where slots are saved to; without one none is. ``programs`` says what runs the
    model and ``gpu`` what of it is on a GPU. ``replacement`` is what to do about a broken file, in words.
    """

    slots: int
    context_tokens: int
    shrinks: bool = False
    batch_tokens: int = BATCH_TOKENS
    threads: int | None = None
    programs: ProgramSearch = field(default_factory=ProgramSearch)
    gpu: GpuOptions = field(default_factory=GpuOptions)
    log_file: Path | None = None
    patience_seconds: float = PATIENCE_SECONDS
    snapshot_folder: Path | None = None
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model in memory, and what speaks for it."""

    process: ServerProcess
    client: ServerClient
    slots: ServerSlots
    encoder: PromptEncoder
    thoughts: ThoughtStyle | None
    info: EngineInfo

    async def end(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.process.stop()
            await self.client.close()


class Deaths:
    """Remembers how the engine died lately, so that a hopeless one is not started for ever."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, CodingAssistantError]] = deque(maxlen=MOST_DEATHS)

    def add(self, reason: CodingAssistantError) -> None:
        """Count one more."""
        self._recent.append((time.monotonic(), reason))

    def forget(self) -> None:
        """Start afresh, as after somebody closed the engine on purpose."""
        self._recent.clear()

    def refuse_if_many(self) -> None:
        """Raise ``EngineUnavailable``, with the last reason, while there are too many of late."""
        if len(self._recent) < MOST_DEATHS:
            return
        first, last = self._recent[0], self._recent[-1]
        if time.monotonic() - first[0] < DEATHS_WITHIN_SECONDS:
            raise EngineUnavailable(
                f"The engine died {MOST_DEATHS} times within {DEATHS_WITHIN_SECONDS / 60:.0f} minutes and is "
                f"not started for now. The last time: {last[1].message}",
                hint=last[1].hint,
            )


class LlamaEngine:
    """A model that llama.cpp runs: ``protocols.Engine``."""

    def __init__(self, spec: ModelSpec, file: Path, options: EngineOptions) -> None:
        self._spec = spec
        self._file = file.absolute()
        self._options = options
        self._loaded: _Loaded | None = None
        self._starter = ModelStarter(options.programs, options.gpu, options.log_file)
        self._claimed_bytes = 0
        self._loading = anyio.Lock()
        self._deaths = Deaths()

    @property
    def name(self) -> str:
        """The model's name in the catalog."""
        return self._spec.name

    @property
    def is_loaded(self) -> bool:
        """Whether the next question finds the model ready."""
        return self._loaded is not None and self._loaded.process.is_running

    @property
    def process_id(self) -> int | None:
        """The process that holds the model, for measuring its memory; None when there is none."""
        return self._loaded.process.pid if self._loaded is not None else None

    def leave_free(self, claimed_bytes: int) -> None:
        """Have later loads leave so much of the available memory to others, who have not taken it yet."""
        self._claimed_bytes = claimed_bytes

    async def load(self) -> EngineInfo:
        """Load the model unless it is loaded; concurrent callers wait for one and the same process."""
        return (await self._ready()).info

    async def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the tokens of plain text."""
        async with self._working() as loaded:
            return await loaded.encoder.tokenize(text)

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the prompt's tokens in the model's own format."""
        async with self._working() as loaded:
            return await loaded.encoder.encode(messages)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Continue the prompt. Closing the generator stops the model within a batch."""
        self._require_slot(request.slot)
        async with self._working() as loaded:
            _require_room(request.tokens, loaded.info)
            sent = replace(request, stop=loaded.encoder.stop_strings(request.stop))
            async with aclosing(apart(loaded.slots.generate(sent), loaded.thoughts)) as events:
                async for event in events:
                    yield event

    async def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
        """Read tokens into a slot. Closing the generator stops the model within a batch."""
        self._require_slot(slot)
        async with self._working() as loaded:
            _require_room(tokens, loaded.info)
            async with aclosing(loaded.slots.read(tokens, slot=slot)) as reading:
                async for read in reading:
                    yield read

    async def save_slot(self, slot: int, name: str) -> int:
        """Write what a slot has read to a file, which appears under its name only when it is whole."""
        self._require_slot(slot)
        folder = self._options.snapshot_folder
        if folder is None or (held := self._held()) is None:
            return 0
        async with self._working(held) as loaded:
            # Nobody who leaves stops the server: it would write on in a file that may be deleted by then.
            with anyio.CancelScope(shield=True):
                size = await loaded.slots.save(slot, folder / name, identity=loaded.info.snapshots)
            return size  # noqa: RET504  -- for all that mypy knows, the scope above may swallow an error

    async def restore_slot(self, slot: int, name: str) -> int:
        """Have a slot hold what the file says; 0 if that is no snapshot of ours."""
        self._require_slot(slot)
        folder = self._options.snapshot_folder
        if folder is None or (held := self._held()) is None:
            return 0
        async with self._working(held) as loaded:
            return await loaded.slots.restore(slot, folder / name, identity=loaded.info.snapshots)

    async def erase_slot(self, slot: int) -> None:
        """Forget what a slot has read."""
        self._require_slot(slot)
        held = self._held()
        if held is not None:
            async with self._working(held) as loaded:
                await loaded.slots.erase(slot)

    async def busy_slots(self) -> int:
        """Return how many slots read or write at this moment."""
        async with self._working() as loaded:
            return await loaded.client.busy_slots()

    async def close(self) -> None:
        """End the process, which frees the memory. A later call loads the model again."""
        async with self._loading:
            self._deaths.forget()
            self._starter.forget()
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                await loaded.end()

    def _require_slot(self, slot: int) -> None:
        if not 0 <= slot < self._options.slots:
            raise InvalidRequest(f"There is no slot {slot}: the engine has {self._options.slots}.")

    def _held(self) -> _Loaded | None:
        """Return the model if it is loaded, for what is of no use to one that would have to be."""
        return self._loaded if self.is_loaded else None

    @asynccontextmanager
    async def _working(self, held: _Loaded | None = None) -> AsyncIterator[_Loaded]:
        """Load the model if need be; a server lost inside becomes the reason why its process ended."""
        loaded = held or await self._ready()
        try:
            yield loaded
        except ServerLost:
            raise await self._reason_lost(loaded) from None

    async def _ready(self) -> _Loaded:
        async with self._loading:
            if self._loaded is not None and not self._loaded.process.is_running:
                await self._bury(self._loaded)  # it died while nobody looked
            if self._loaded is None:
                self._deaths.refuse_if_many()
                try:
                    self._loaded = await self._start()
                except EngineDied as death:
                    self._deaths.add(death)
                    raise
                except ModelBroken as broken:
                    hint = self._options.replacement or broken.hint
                    raise ModelBroken(broken.message, hint=hint) from broken
            return self._loaded

    async def _reason_lost(self, loaded: _Loaded) -> CodingAssistantError:
        async with self._loading:
            # A reader who leaves now must not leave a hung process to the next one.
            with anyio.CancelScope(shield=True):
                reason = await self._bury(loaded)
        return reason

    async def _bury(self, loaded: _Loaded) -> CodingAssistantError:
        """Clear a dead process away and return its reason; the first to find it dead counts the death."""
        reason = await loaded.process.reason_it_ended()
        await loaded.client.close()
        if self._loaded is loaded:
            self._loaded = None
            self._deaths.add(reason)
        return reason

    async def _start(self) -> _Loaded:
        """Check the file, the format and the memory, then load. What fails leaves no process."""
        options = self._options
        header = await anyio.to_thread.run_sync(gguf.read_header, self._file)
        vocabulary = await anyio.to_thread.run_sync(gguf.read_vocabulary, self._file)
        require_answers(self._file.name, header.kind, header.architecture, self._spec.prompt_format)
        prompt_format = await used_format(self._spec, header.chat_template or "", vocabulary)
        thoughts = thought_style(vocabulary, header.chat_template, prompt_format.cue)
        settings = ServerSettings(
            model_file=str(self._file),
            slots=options.slots,
            context_tokens=options.context_tokens,
            batch_tokens=options.batch_tokens,
            threads=options.threads or default_threads(),
            gpu_layers=0,
            snapshot_folder=str(options.snapshot_folder or ""),
            speculates=self._spec.speculation != "off",
        )
        plan = memory.plan_memory(
            header,
            context_tokens=options.context_tokens,
            slots=options.slots,
            batch_tokens=settings.safe_batch_tokens,
            available=memory.available_bytes() - self._claimed_bytes,
        )
        plan = replace(plan, shrinks=options.shrinks)
        await anyio.to_thread.run_sync(self._make_snapshot_folder)
        started = await self._starter.start(header, plan, settings)
        process = started.process
        client = ServerClient(process.url, process.api_key, patience_seconds=options.patience_seconds)
        try:
            traits = await read_traits(client, vocabulary, prompt_format)
            encoder = PromptEncoder(client, prompt_format, traits)
            info = EngineInfo(
                self.name,
                await client.context_tokens(),
                options.slots,
                run=uuid.uuid4().hex,
                vocabulary=vocabulary_identity(vocabulary, encoder.format_name),
                snapshots=await anyio.to_thread.run_sync(self._snapshot_identity, header, started),
                program=started.program.kind,
                program_version=started.program.version,
                layers=started.offload.layers,
                offloaded_layers=started.offload.offloaded,
                notice=" ".join(filter(None, (self._spec.notice, started.notice))),
                memory=started.memory,
            )
        except ServerLost:
            await client.close()
            raise await process.reason_it_ended() from None
        except BaseException:  # also a cancellation: a process that nobody knows must not live on
            with anyio.CancelScope(shield=True):
                await process.stop()
                await client.close()
            raise
        slots = ServerSlots(client, written_out=thoughts.hidden if thoughts else ())
        return _Loaded(process, client, slots, encoder, thoughts, info)

    def _make_snapshot_folder(self) -> None:
        folder = self._options.snapshot_folder
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The folder {folder} for what the model has read cannot be made: {error.strerror}.",
                hint="Check the permissions of the data directory.",
            ) from error

    def _snapshot_identity(self, header: GgufHeader, started: StartedModel) -> str:
        """Return the identity of the snapshots, empty where there are none."""
        if self._options.snapshot_folder is None:
            return ""
        return snapshot_identity(self._file, header, started.settings, started.program)


def _require_room(tokens: Sequence[int], info: EngineInfo) -> None:
    """Refuse a prompt before any of it is read."""
    if len(tokens) >= info.context_tokens:
        raise InvalidRequest(
            f"The prompt has {len(tokens):,} tokens, the context holds {info.context_tokens:,}.",
            hint="Ask about less at once, or set a longer context for this model.",
        )


def default_threads(root: Path = Path("/")) -> int:
    """Return one thread a physical core that this process may use: a second on the same core slows both.

    A container's quota counts: with more threads than it pays for, all are halted together again and again.
    ``root`` is where the kernel's ``proc`` and ``sys`` are found.
    """
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    quota = processor_quota(root)
    paid = cores if quota is None else max(1, int(quota))
    return min(cores, allowed, paid)
