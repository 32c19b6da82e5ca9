"""GgufEmbedder: any embedding model in a GGUF file behind ``protocols.Embedder``, in a process of its own.

The engine's process does the work in embedding mode. Callers block; what speaks with the process is async,
so it runs on an event loop in a thread of the embedder's own, as ``coding_assistant.blocking`` does it.
"""

import hashlib
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import anyio
import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal

from coding_assistant.errors import (
    CodingAssistantError,
    EngineDied,
    EngineFailed,
    EngineUnavailable,
    InvalidModel,
)
from coding_assistant.inference import gguf, memory
from coding_assistant.inference.gguf import GgufHeader
from coding_assistant.inference.llama import PATIENCE_SECONDS, Deaths
from coding_assistant.inference.server_client import ServerClient, ServerLost
from coding_assistant.inference.server_process import ServerProcess
from coding_assistant.inference.server_protocol import ServerSettings
from coding_assistant.protocols import Vectors

# A chunk has about 1,000 characters, which are 200 to 350 tokens of code; the time for a text grows with its
# tokens, and models of BERT's kind are trained for no more than this.
MOST_TOKENS: Final = 512

# Of 19 steps. Beside a busy thread of the usual priority it leaves a tenth of a core's time.
NICENESS: Final = 10

# Part of the fingerprint: raise it whenever the same file gives other vectors.
_VERSION: Final = "1"

# llama.cpp's numbers of poolings (LLAMA_POOLING_TYPE_*).
_NO_POOLING: Final = 0
_RANKING: Final = 4


class GgufEmbedder:
    """Embeds with a model that llama.cpp runs. Safe to use from several threads; ``close`` it at the end.

    The process starts at the first text, and again after it has died; it has the lowest claim on the
    processor and takes ``threads`` of it. It ends with ``close``, and also with this process.

    The first ``most_tokens`` tokens of a text make its vector (fewer where the model is made for fewer); what
    follows them does not count. Text goes to the model as it is: a model that was trained with an instruction
    before each question works without it, a little worse. One that does not say how it makes a vector of its
    tokens', such as a chat model, gives their mean, which tells little of what a text is about.

    Raises ``ModelMissing``, ``ModelBroken`` or ``InvalidModel`` for a file that cannot be used.
    """

    def __init__(
        self, file: Path, *, threads: int, most_tokens: int = MOST_TOKENS, log_file: Path | None = None
    ) -> None:
        self._file = file.absolute()
        self._header = _checked_header(self._file)
        self._server = _EmbeddingServer(
            self._header,
            _settings(self._file, self._header, threads=threads, most_tokens=most_tokens),
            log_file,
        )
        self._most_tokens = most_tokens
        self._loop = ExitStack()
        self._portal: BlockingPortal | None = None
        self._is_closed = False
        self._opening = threading.Lock()

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any byte of the file, wherever it lies, and with how much of a text is read.

        Reads the whole file, once: half a second a gigabyte.
        """
        with self._file.open("rb") as weights:
            digest = hashlib.file_digest(weights, "sha256").hexdigest()
        return f"gguf-{_VERSION}-{self._most_tokens}-{digest[:32]}"

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return self._header.embedding_length

    @property
    def is_instant(self) -> bool:
        """A dozen texts a second, or less."""
        return False

    @property
    def is_loaded(self) -> bool:
        """Whether the next text finds the process running, with its model."""
        return self._server.is_running

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return a row for each text, of length 1, or all zeros for a blank one.

        One after the other: two at once are not faster, and a question waits for one text at most.
        """
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = self.embed_query(text)
        return rows

    @property
    def embed_terms(self) -> None:
        """None: the model reads a text's signs and the order of its words too."""

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question, of length 1, or all zeros for a blank one."""
        if not text.strip():
            return np.zeros(self.dimensions, np.float32)
        return self._open().call(self._server.embed, text)

    def close(self) -> None:
        """End the process for good. A text that is at work fails with ``EngineDied``."""
        with self._opening:
            self._is_closed = True
            if self._portal is not None:
                self._portal.call(self._server.stop)
                self._loop.close()
                self._portal = None

    def _open(self) -> BlockingPortal:
        with self._opening:
            if self._is_closed:
                raise EngineUnavailable("The embedding model was closed.")
            if self._portal is None:
                self._portal = self._loop.enter_context(start_blocking_portal())
            return self._portal


@dataclass(frozen=True, slots=True)
class _Running:
    """A process that has loaded the model, and what speaks with it."""

    process: ServerProcess
    client: ServerClient


class _EmbeddingServer:
    """The process behind an embedder, seen from the event loop: there when needed, replaced when dead."""

    def __init__(self, header: GgufHeader, settings: ServerSettings, log_file: Path | None) -> None:
        self._header = header
        self._settings = settings
        self._log_file = log_file
        self._running: _Running | None = None
        self._starting = anyio.Lock()
        self._deaths = Deaths()

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has loaded the model."""
        running = self._running
        return running is not None and running.process.is_running

    async def embed(self, text: str) -> Vectors:
        """Return the vector of a text, all zeros when it has no token."""
        running = await self._ready()
        try:
            tokens = await running.client.tokenize(text, add_special=True)
            if not tokens:
                return np.zeros(self._header.embedding_length, np.float32)
            vector = await running.client.embed(_cut(tokens, self._settings.context_tokens))
        except ServerLost:
            raise await self._bury(running) from None
        return self._checked(vector)

    async def stop(self) -> None:
        """End the process, if there is one."""
        async with self._starting:
            running, self._running = self._running, None
            if running is not None:
                await running.process.stop()
                await running.client.close()

    async def _ready(self) -> _Running:
        if self._running is not None and not self.is_running:
            await self._bury(self._running)  # it died while nobody looked
        async with self._starting:
            if self._running is None:
                self._deaths.refuse_if_many()
                try:
                    self._running = await self._start()
                except EngineDied as death:
                    self._deaths.add(death)
                    raise
            return self._running

    async def _start(self) -> _Running:
        tokens = self._settings.context_tokens
        plan = memory.plan_memory(self._header, context_tokens=tokens, slots=1, batch_tokens=tokens)
        memory.require_fit(plan)
        process = await ServerProcess.start(self._settings, log_file=self._log_file)
        return _Running(
            process, ServerClient(process.url, process.api_key, patience_seconds=PATIENCE_SECONDS)
        )

    async def _bury(self, lost: _Running) -> CodingAssistantError:
        """Clear a dead process away and return its reason; the first to find it dead counts the death."""
        async with self._starting:
            reason = await lost.process.reason_it_ended()
            await lost.client.close()
            if self._running is lost:
                self._running = None
                self._deaths.add(reason)
            return reason

    def _checked(self, answer: bytes) -> Vectors:
        vector = np.frombuffer(answer, "<f4").astype(np.float32)
        if vector.shape != (self._header.embedding_length,) or not np.isfinite(vector).all():
            raise EngineFailed(
                "The embedding model gave something that is no vector of its size.",
                hint="Choose another embedding model.",
            )
        return vector


def _checked_header(file: Path) -> GgufHeader:
    header = gguf.read_header(file)
    if header.pooling == _RANKING:
        raise InvalidModel(
            f"{file.name} is a model for ranking: it compares texts and has no vectors.",
            hint="Name an embedding model.",
        )
    if header.parts > 1:
        raise InvalidModel(
            f"{file.name} is one of {header.parts} parts: an embedding model must be one file.",
            hint="Join them: llama-gguf-split --merge does it.",
        )
    return header


def _settings(file: Path, header: GgufHeader, *, threads: int, most_tokens: int) -> ServerSettings:
    tokens = min(most_tokens, header.context_length)
    return ServerSettings(
        model_file=str(file),
        slots=1,
        context_tokens=tokens,
        batch_tokens=tokens,  # models that read in both directions need a text in one batch
        threads=threads,
        gpu_layers=0,
        embedding=True,
        mean_pooling=header.pooling == _NO_POOLING,
        niceness=NICENESS,
    )


def _cut(tokens: Sequence[int], most: int) -> Sequence[int]:
    """Return the tokens that are read. The last one stays: with many models it marks the end, and counts."""
    return tokens if len(tokens) <= most else (*tokens[: most - 1], tokens[-1])
