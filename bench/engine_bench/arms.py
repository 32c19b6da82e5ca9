"""Three ways to the same engine: its bare server, our API in front of that, and llama.cpp's own benchmark.

Each measures one round of one model from a fresh process. All read prompts of the same lengths and write the
same number of tokens behind the same depths, without guessing ahead.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

import anyio
import httpx2
import psutil

from coding_assistant.inference.engine_programs import EngineProgram
from coding_assistant.inference.llama import BATCH_TOKENS
from coding_assistant.inference.server_process import ServerProcess
from coding_assistant.inference.server_protocol import ServerSettings
from conversations_bench.client import NO_LIMIT, Completion, Exchange, ask, complete_tokens, connect
from conversations_bench.plain_server import SPINNING
from conversations_bench.service import product_service, running
from engine_bench.resident import forget_use, resident
from engine_bench.results import Measured, What

FIRST_TOKENS = 681
"""The prompt whose first token the first version of this product took 32 s for, 13 s of loading included."""

READ_TOKENS = (512, 2_048)
WRITE_DEPTHS = (0, 4_096)
WRITTEN_TOKENS = 64
CONTEXT_TOKENS = 8_192
ANY_SIZE = 0

FEWEST_TOKENS = 16
"""A shorter answer says nothing of a speed."""

_COUNTED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_FRAME_TOKENS = 130
"""About what our system text and the chat template add to a question."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a model's file, with so many threads."""

    model: str
    file: Path
    threads: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Makes figures of one arm in one round."""

    subject: Subject
    arm: str
    round: int

    def of(self, what: What, value: float, *, size: int = ANY_SIZE, tokens: int = 0) -> Measured:
        """Return a figure."""
        return Measured(self.subject.model, self.arm, self.round, what, size, tokens, value)


class Arm(Protocol):
    """One way to an engine."""

    name: str

    async def measure(self, subject: Subject, round_number: int) -> list[Measured]:
        """Measure one round."""
        ...


class Bare:
    """The engine's server as our product starts it, asked in its own language."""

    def __init__(self, program: EngineProgram) -> None:
        self.name = f"{program.kind}, bare"
        self._program = program

    async def measure(self, subject: Subject, round_number: int) -> list[Measured]:
        """Load, then read and write by tokens that stand in no cache."""
        figures = Figures(subject, self.name, round_number)
        began = time.perf_counter()
        async with self._serving(subject) as (server, http):
            loaded = time.perf_counter() - began
            first = await complete_tokens(http, await _tokens(http, FIRST_TOKENS, "0 "), written_tokens=1)
            since_start = loaded + first.total_seconds
            found = [
                figures.of("load", loaded),
                figures.of("first token", since_start, size=FIRST_TOKENS, tokens=FIRST_TOKENS),
            ]
            for number, size in enumerate(READ_TOKENS):
                tokens = await _tokens(http, size, f"{number + 1} ")
                done = await complete_tokens(http, tokens, written_tokens=1)
                found.append(_read(figures, done, size))
            for number, depth in enumerate(WRITE_DEPTHS):
                tokens = await _tokens(http, max(depth, 1), f"{number + 4} ")
                done = await complete_tokens(http, tokens, written_tokens=WRITTEN_TOKENS)
                speed = (done.written_tokens - 1) / done.writing_seconds
                found.append(figures.of("write", speed, size=depth, tokens=done.written_tokens))
                forget_use(server.pid)
            await complete_tokens(http, await _tokens(http, BATCH_TOKENS, "9 "), written_tokens=1)
            found.append(figures.of("memory", resident(server.pid).needed))
        return found

    @asynccontextmanager
    async def _serving(
        self, subject: Subject
    ) -> AsyncGenerator[tuple[ServerProcess, httpx2.AsyncClient], None]:
        settings = ServerSettings(
            model_file=str(subject.file),
            slots=1,
            context_tokens=CONTEXT_TOKENS,
            batch_tokens=BATCH_TOKENS,
            threads=subject.threads,
            gpu_layers=0,
        )
        server = await ServerProcess.start(settings, program=self._program)
        headers = {"Authorization": f"Bearer {server.api_key}"}
        try:
            async with httpx2.AsyncClient(
                base_url=server.url,
                headers=headers,
                # It closes connections that were idle for five seconds, in a race with the next request.
                limits=httpx2.Limits(max_keepalive_connections=0),
                trust_env=False,
                timeout=NO_LIMIT,
            ) as http:
                yield server, http
        finally:
            await server.stop()


class Ours:
    """``coding-assistant serve`` on the engine, asked over HTTP as the page does it; times are a reader's."""

    def __init__(self, program: EngineProgram) -> None:
        self.name = f"{program.kind}, our API"
        self._setting = program.kind if program.file is None else str(program.file)

    async def measure(self, subject: Subject, round_number: int) -> list[Measured]:
        """Ask questions of such lengths that the prompts have about the sizes."""
        figures = Figures(subject, self.name, round_number)
        settings = {
            "LLAMA_SERVER": self._setting,
            "CONTEXT_TOKENS": str(CONTEXT_TOKENS),
            "N_THREADS": str(subject.threads),
            "SNAPSHOT_MEGABYTES": "0",
        }
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as project:
            await anyio.Path(project, "notes.md").write_text("Nothing to be found.\n")
            service = product_service(
                home=Path(home), project=Path(project), model=str(subject.file), settings=settings
            )
            with running(service):
                async with connect(service.url) as http:
                    return await self._ask(http, figures)

    async def _ask(self, http: httpx2.AsyncClient, figures: Figures) -> list[Measured]:
        # The first question loads the model; how many tokens it had tells how long the others have to be.
        words = FIRST_TOKENS - _FRAME_TOKENS
        first = await ask(http, _question(words, "0"))
        used = _count(first, "receipt", "used")
        by_word = max(used - _FRAME_TOKENS, 1) / words
        found = [figures.of("first token", first.first_token_seconds, size=FIRST_TOKENS, tokens=used)]
        sizes = sorted({*READ_TOKENS, *(max(depth, _FRAME_TOKENS) for depth in WRITE_DEPTHS)})
        for number, size in enumerate(sizes):
            count = max(1, round((size - _FRAME_TOKENS) / by_word))
            exchange = await ask(http, _question(count, str(number + 1)))
            found.extend(_of_exchange(figures, exchange, size))
        return found


class LlamaBench:
    """llama.cpp's benchmark of the same build: no server, no tokenising, no sampling."""

    def __init__(self, program: Path, *, kind: str) -> None:
        self.name = f"{kind}, llama-bench"
        self._program = program

    async def measure(self, subject: Subject, round_number: int) -> list[Measured]:
        """Run it once for prompts and once for writing."""
        figures = Figures(subject, self.name, round_number)
        sizes, depths = (",".join(map(str, each)) for each in (READ_TOKENS, WRITE_DEPTHS))
        found = []
        for run in self._runs(subject, ["-p", sizes, "-n", "0"]):
            size = int(run["n_prompt"])
            found.append(figures.of("read", float(run["avg_ts"]), size=size, tokens=size))
        for run in self._runs(subject, ["-p", "0", "-n", str(WRITTEN_TOKENS), "-d", depths]):
            depth = int(run["n_depth"])
            found.append(figures.of("write", float(run["avg_ts"]), size=depth, tokens=WRITTEN_TOKENS))
        return found

    def _runs(self, subject: Subject, what: list[str]) -> Iterator[Mapping[str, float]]:
        command = [str(self._program), "-m", str(subject.file), "-t", str(subject.threads), "-ngl", "0"]
        done = subprocess.run(
            [*command, *what, "-fa", "0", "-r", "1", "-o", "json"],  # as the product runs it without a GPU
            env={**os.environ, **SPINNING},
            capture_output=True,
            text=True,
            check=True,
        )
        yield from json.loads(done.stdout)


def machine_threads() -> int:
    """Return the physical cores, which is how many threads the product takes."""
    return psutil.cpu_count(logical=False) or 1


def _question(words: int, mark: str) -> Mapping[str, object]:
    # Another beginning each time: what has the same one is not read again. A word is a token in all
    # vocabularies; a number is one in some, and one for each of its digits in others.
    counted = " ".join(islice(cycle(_COUNTED), words))
    question = f"{mark} {mark}: go on counting, and say nothing else: {counted}"
    return {"query": question, "temperature": 0.0, "max_tokens": WRITTEN_TOKENS}


def _of_exchange(figures: Figures, exchange: Exchange, size: int) -> Iterator[Measured]:
    new, written = _count(exchange, "receipt", "new"), _count(exchange, "timings", "written_tokens")
    if size in READ_TOKENS:
        yield figures.of("read", new / exchange.first_token_seconds, size=size, tokens=new)
    depth = 0 if size == _FRAME_TOKENS else size
    if depth in WRITE_DEPTHS and written >= FEWEST_TOKENS:
        speed = (written - 1) / exchange.writing_seconds
        yield figures.of("write", speed, size=depth, tokens=written)


def _count(exchange: Exchange, section: str, name: str) -> int:
    part = exchange.events[-1].data[section]
    if not isinstance(part, dict):
        raise TypeError(f"the answer came without its {section}")
    return int(part[name])


def _read(figures: Figures, done: Completion, size: int) -> Measured:
    return figures.of("read", done.read_tokens / done.first_token_seconds, size=size, tokens=done.read_tokens)


async def _tokens(http: httpx2.AsyncClient, count: int, beginning: str) -> list[int]:
    """Return so many tokens of text that begins like no other."""
    text = beginning + " ".join(map(str, range(1_000, 1_000 + 2 * count)))
    answer = await http.post("/tokenize", json={"content": text})
    tokens: list[int] = answer.raise_for_status().json()["tokens"]
    return tokens[:count]
