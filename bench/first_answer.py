"""What a first answer costs: indexing, searching, reading, writing, memory; beside the bare engine.

    python bench/first_answer.py --project DIR --model NAME [--questions FILE] [--json FILE]

Each question is asked in a new conversation with a cold cache, and at once the very same tokens go straight
to a llama.cpp server of the same build and settings, with nothing of this product in between; the ratio is
taken pair by pair, so that a drift of the machine's speed falls on both. Medians and ratios count, single
figures on a shared machine do not.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
import httpx2
import psutil

from coding_assistant.assistant import (
    AsyncAssistant,
    chosen_model,
    make_llama_engine,
    open_catalog,
    open_project_code,
)
from coding_assistant.contract import QueryRequest, QueryResponse
from coding_assistant.domain import EngineEvent, EngineInfo, GenerationRequest, Message, ModelSpec, PromptRead
from coding_assistant.inference.llama import LlamaEngine, default_threads
from coding_assistant.inference.server_process import ServerProcess
from coding_assistant.inference.server_protocol import ServerSettings
from coding_assistant.settings import Settings, load_settings

QUESTIONS = (
    "Where are the default settings defined?",
    "How are errors reported to the caller?",
    "Which function is called first when the program starts?",
)
SEARCHES = 50
MEBIBYTE = 2**20


class RecordingEngine:
    """The real engine, remembering what was sent to it."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self.requests: list[GenerationRequest] = []

    @property
    def name(self) -> str:
        """The model's name."""
        return self._engine.name

    @property
    def is_loaded(self) -> bool:
        """Whether the model is loaded."""
        return self._engine.is_loaded

    @property
    def process_id(self) -> int | None:
        """The engine's process."""
        return self._engine.process_id

    async def load(self) -> EngineInfo:
        """Load the model."""
        return await self._engine.load()

    async def tokenize(self, text: str) -> tuple[int, ...]:
        """Tokenise text."""
        return await self._engine.tokenize(text)

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Encode a prompt."""
        return await self._engine.encode(messages)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Remember the request and pass its events on."""
        self.requests.append(request)
        async with aclosing(self._engine.generate(request)) as events:
            async for event in events:
                yield event

    async def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
        """Read ahead."""
        async with aclosing(self._engine.read(tokens, slot=slot)) as events:
            async for event in events:
                yield event

    async def save_slot(self, slot: int, name: str) -> int:
        """Save a slot."""
        return await self._engine.save_slot(slot, name)

    async def restore_slot(self, slot: int, name: str) -> int:
        """Restore a slot."""
        return await self._engine.restore_slot(slot, name)

    async def erase_slot(self, slot: int) -> None:
        """Erase a slot."""
        await self._engine.erase_slot(slot)

    async def close(self) -> None:
        """Unload the model."""
        await self._engine.close()


@dataclass(frozen=True, slots=True)
class Speed:
    """One answer: seconds to its first token, tokens a second after it."""

    first_token_seconds: float
    written_per_second: float


@dataclass(frozen=True, slots=True)
class Indexing:
    """What the index cost and what searching it costs."""

    files: int
    chunks: int
    seconds: float
    unchanged_seconds: float
    search_p50_ms: float
    search_p95_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run."""

    model: str
    indexing: Indexing
    load_seconds: float
    prompt_tokens: list[int]
    ours: list[Speed]
    bare: list[Speed]
    service_mib: float
    engine_mib: float


async def measure_index(settings: Settings, folder: Path) -> Indexing:
    """Index a folder from nothing, look for changes once more, and search it."""
    async with open_project_code(settings, folder) as code:
        began = time.perf_counter()
        stats = await code.refresh(lambda _progress: None)
        built = time.perf_counter()
        await code.refresh(lambda _progress: None)
        unchanged = time.perf_counter() - built
        times: list[float] = []
        for number in range(SEARCHES):
            start = time.perf_counter()
            await code.search(QUESTIONS[number % len(QUESTIONS)], limit=10)
            times.append(1_000 * (time.perf_counter() - start))
    return Indexing(
        stats.files,
        stats.chunks,
        built - began,
        unchanged,
        statistics.median(times),
        statistics.quantiles(times, n=20)[-1],
    )


async def ask_ours(assistant: AsyncAssistant, question: str) -> tuple[QueryResponse, Speed]:
    """Ask in a new conversation and time it as its reader would."""
    response: QueryResponse | None = None
    first = last = 0.0
    pieces = 0
    began = time.perf_counter()
    async with aclosing(assistant.ask(QueryRequest(query=question, temperature=0.0))) as events:
        async for event in events:
            if event.name == "text":
                last = time.perf_counter()
                first = first or last
                pieces += 1
            if isinstance(event.data, QueryResponse):
                response = event.data
    if response is None or pieces <= 1:
        raise SystemExit(f"no answer of some length to {question!r}")
    return response, Speed(first - began, (pieces - 1) / (last - first))


async def ask_bare(http: httpx2.AsyncClient, request: GenerationRequest, *, pieces: int) -> Speed:
    """Send the same tokens straight to a server and time its pieces."""
    body = {
        "prompt": list(request.tokens),
        "n_predict": pieces,
        "cache_prompt": False,
        "temperature": 0.0,
        "stream": True,
        "id_slot": 0,
    }
    began = time.perf_counter()
    async with http.stream("POST", "/completion", json=body, timeout=600) as response:
        times = [time.perf_counter() async for line in response.aiter_lines() if _has_text(line)]
    return Speed(times[0] - began, (len(times) - 1) / (times[-1] - times[0]))


def _has_text(line: str) -> bool:
    return line.startswith("data: ") and bool(json.loads(line.removeprefix("data: ")).get("content"))


async def measure(settings: Settings, folder: Path, questions: Sequence[str]) -> Report:
    """Run everything on one project with one model."""
    indexing = await measure_index(settings, folder)
    catalog = open_catalog(settings)
    spec = chosen_model(catalog, settings)
    engine = RecordingEngine(make_llama_engine(catalog, spec, settings))
    process = await ServerProcess.start(
        _same_settings(spec, catalog.require_file(spec), settings), log_file=None
    )
    ours: list[Speed] = []
    bare: list[Speed] = []
    prompt_tokens: list[int] = []
    try:
        async with (
            AsyncAssistant.open(settings, purpose="benchmark", make_engine=lambda *_: engine) as assistant,
            httpx2.AsyncClient(
                base_url=process.url, headers={"Authorization": f"Bearer {process.api_key}"}
            ) as http,
        ):
            await assistant.add_project(str(folder))
            began = time.perf_counter()
            await engine.load()
            load_seconds = time.perf_counter() - began
            for question in questions:
                response, speed = await ask_ours(assistant, question)
                request = engine.requests[-1]
                ours.append(speed)
                prompt_tokens.append(len(request.tokens))
                bare.append(await ask_bare(http, request, pieces=response.timings.written_tokens))
            report = Report(
                spec.name,
                indexing,
                load_seconds,
                prompt_tokens,
                ours,
                bare,
                psutil.Process().memory_info().rss / MEBIBYTE,
                psutil.Process(engine.process_id).memory_info().rss / MEBIBYTE,
            )
    finally:
        await process.stop()
    return report


def print_report(report: Report) -> None:
    """Print the figures as a table."""
    index = report.indexing
    print(f"model {report.model}")
    print(f"index: {index.files} files, {index.chunks} chunks in {index.seconds:.2f} s", end="; ")
    print(f"unchanged {index.unchanged_seconds:.2f} s")
    print(f"search: p50 {index.search_p50_ms:.1f} ms, p95 {index.search_p95_ms:.1f} ms")
    print(f"load: {report.load_seconds:.1f} s; prompts of {report.prompt_tokens} tokens")
    for name, speeds in (("ours", report.ours), ("bare engine", report.bare)):
        first = statistics.median(speed.first_token_seconds for speed in speeds)
        written = statistics.median(speed.written_per_second for speed in speeds)
        print(f"{name:12} first token {first:6.2f} s, {written:5.1f} tokens/s")
    pairs = list(zip(report.ours, report.bare, strict=True))
    first_ratio = statistics.median(one.first_token_seconds / two.first_token_seconds for one, two in pairs)
    written_ratio = statistics.median(one.written_per_second / two.written_per_second for one, two in pairs)
    print(f"ours / bare  first token {first_ratio:.3f}, tokens/s {written_ratio:.3f}, {len(pairs)} pairs")
    print(f"resident: service {report.service_mib:.0f} MiB, engine {report.engine_mib:.0f} MiB")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", type=Path, required=True, help="the folder to ask about")
    parser.add_argument("--model", help="a name of the catalog or a path; default: as the product chooses")
    parser.add_argument("--questions", type=Path, help="a file with one question a line")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    questions = arguments.questions.read_text().splitlines() if arguments.questions else QUESTIONS
    models = load_settings(os.environ, {}).models
    with tempfile.TemporaryDirectory() as home:
        flags = {"home": home, "models_folder": models, "model_name": arguments.model}
        report = anyio.run(measure, load_settings(os.environ, flags), arguments.project, questions)
    print_report(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(report), indent=1) + "\n")


def _same_settings(spec: ModelSpec, file: Path, settings: Settings) -> ServerSettings:
    return ServerSettings(
        model_file=str(file),
        slots=spec.slots,
        context_tokens=spec.context_length,
        batch_tokens=settings.batch_tokens,
        threads=spec.n_threads or default_threads(),
        gpu_layers=0,  # what is compared here is done by the processor
    )


if __name__ == "__main__":
    main()
