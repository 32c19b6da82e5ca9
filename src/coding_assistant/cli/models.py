"""``models``: which there are, what they need, how to get them, and whether they work."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import asdict
from typing import Annotated

import typer

from coding_assistant.cli.bridge import Interrupt, bridge
from coding_assistant.cli.options import JsonOption, read_settings
from coding_assistant.cli.progress import progress_line
from coding_assistant.cli.rendering import duration
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.cli.weights import described, pull, starter_notice
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import (
    EngineEvent,
    GenerationEnded,
    GenerationRequest,
    MemoryPlan,
    Message,
    ModelSpec,
    PromptRead,
    Role,
    TextPiece,
)
from coding_assistant.errors import EngineFailed
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.gguf import GgufHeader
from coding_assistant.inference.memory import plan_memory, size_in_words
from coding_assistant.protocols import Engine
from coding_assistant.settings import Settings

models = typer.Typer(help="List, show, pull, check.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A model of the catalog, or a path to a .gguf file.")
]
OptionalNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A model of the catalog. Default: the chosen one.")
]

CHECK_QUESTION = "What is 2+2?"
CHECK_TOKENS = 64


@models.command("list")
def list_models(*, as_json: JsonOption = False) -> None:
    """List the models that can be chosen by name; * marks the one that answers."""
    output = standard_output()
    settings, catalog, chosen = _chosen(None)
    known = list(catalog.specs)
    if chosen.name not in [spec.name for spec in known]:
        known.append(chosen)
    if as_json:
        output.json([_as_json(catalog, spec, chosen) for spec in known])
        return
    rows = [("", "name", "size", "context", "here", "title")]
    for spec in known:
        here = "yes" if catalog.file_of(spec) else "no"
        size = size_in_words(spec.size_bytes) if spec.size_bytes else "?"
        mark = "*" if spec.name == chosen.name else ""
        rows.append((mark, spec.name, size, f"{spec.context_length:,}", here, spec.title))
    output.table(rows)
    output.line()
    notice = starter_notice(chosen, settings)
    if notice:
        output.line(Span(notice, "dim"))
    output.line(Span(f"Weights lie in {settings.models}. MODEL_NAME or --model chooses another one.", "dim"))


@models.command()
def show(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show everything that is known about a model, and the memory that it would take."""
    output = standard_output()
    settings, catalog, chosen = _chosen(name)
    header = catalog.header_of(chosen) if catalog.file_of(chosen) else None
    plan = _memory_plan(header, chosen, settings) if header else None
    if as_json:
        facts = (
            {key: value for key, value in asdict(header).items() if key != "chat_template"}
            if header
            else None
        )
        memory = asdict(plan) | {"needed": plan.needed, "fits": plan.fits} if plan else None
        output.json(_as_json(catalog, chosen, chosen) | {"header": facts, "memory": memory})
        return
    output.table(_spec_rows(catalog, chosen))
    if header and plan:
        output.line()
        output.table([*_header_rows(header), *_memory_rows(plan)])


@models.command("pull")
def pull_model(
    name: OptionalNameArgument = None,
) -> None:
    """Download a model's weights and check them; a broken download goes on where it stopped."""
    side = standard_error()
    _, catalog, chosen = _chosen(name)
    file = catalog.file_of(chosen)
    if file is not None:
        side.line(f"{chosen.name} is here already: {file}")
        return
    pull(catalog, chosen, side)


@models.command()
def check(name: OptionalNameArgument = None) -> None:
    """Recognise a model's file, load it and ask it what 2+2 is."""
    output, side = standard_output(), standard_error()
    settings, catalog, chosen = _chosen(name)
    file = catalog.require_file(chosen)
    header = catalog.header_of(chosen)
    plan = _memory_plan(header, chosen, settings)
    output.table([("found", str(file)), *_header_rows(header), *_memory_rows(plan)])
    output.line()
    _ask_it(settings, catalog, chosen, output=output, side=side)


def _chosen(name: str | None) -> tuple[Settings, Catalog, ModelSpec]:
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.assistant import chosen_model, open_catalog  # noqa: PLC0415

    settings = read_settings(model_name=name)
    catalog = open_catalog(settings)
    return settings, catalog, chosen_model(catalog, settings)


# --- What is known --------------------------------------------------------------------------------


def _as_json(catalog: Catalog, spec: ModelSpec, chosen: ModelSpec) -> dict[str, object]:
    file = catalog.file_of(spec)
    fields = {key: value for key, value in asdict(spec).items() if key not in {"origins", "path"}}
    return fields | {
        "origins": [asdict(origin) for origin in spec.origins],
        "file": None if file is None else str(file),
        "installed": file is not None,
        "selected": spec.name == chosen.name,
    }


def _spec_rows(catalog: Catalog, spec: ModelSpec) -> Iterator[tuple[str, str]]:
    file = catalog.file_of(spec)
    yield "name", spec.name
    yield "title", spec.title or "-"
    yield "licence", spec.licence or "not stated"
    yield "file", str(file) if file else f"not here; looked for as {spec.filename}"
    yield "download", described(spec) if spec.origins else "nowhere known"
    yield "sha256", spec.sha256 or "-"
    yield "context", f"{spec.context_length:,} tokens"
    yield "longest answer", f"{spec.max_tokens:,} tokens"
    yield "temperature", str(spec.temperature)
    yield "top_p", str(spec.top_p)
    yield "threads", str(spec.n_threads or "one for each core")
    yield "GPU layers", str(spec.n_gpu_layers)
    yield "prompt format", spec.prompt_format
    yield "stop tokens", " ".join(spec.stop_tokens) or "-"
    yield "system prompt", spec.system_prompt or "the assistant's own"


def _header_rows(header: GgufHeader) -> Iterator[tuple[str, str]]:
    yield "size", size_in_words(header.file_bytes)
    yield "architecture", header.architecture
    yield "parameters", f"{header.parameters / 1e9:.2f} billion"
    yield "quantisation", header.quantisation
    yield "layers", str(header.layers)
    yield "trained context", f"{header.context_length:,} tokens"
    yield "vocabulary", f"{header.vocabulary_size:,} tokens"


def _memory_rows(plan: MemoryPlan) -> Iterator[tuple[str, str]]:
    parts = (
        f"{size_in_words(plan.weights)} weights, {size_in_words(plan.kv_cache)} context,"
        f" {size_in_words(plan.compute)} computing"
    )
    fits = "fits" if plan.fits else "does not fit"
    yield "memory", f"{size_in_words(plan.needed)}: {parts}"
    yield "", f"{fits}: {size_in_words(plan.available)} are available"


def _memory_plan(header: GgufHeader, spec: ModelSpec, settings: Settings) -> MemoryPlan:
    return plan_memory(
        header,
        context_tokens=spec.context_length,
        slots=settings.slots,
        batch_tokens=settings.batch_tokens,
    )


# --- Whether it works -----------------------------------------------------------------------------


def _ask_it(settings: Settings, catalog: Catalog, spec: ModelSpec, *, output: Screen, side: Screen) -> None:
    from coding_assistant.assistant import make_engine  # noqa: PLC0415  -- as in _chosen

    DataDirectory(settings.home).prepare()  # the engine's log lies there
    engine = make_engine(catalog, spec, settings)
    with bridge() as crossing, crossing.within(_closing(engine)), progress_line(side) as bar:
        bar.show(f"Loading {spec.name}")
        began = time.monotonic()
        crossing.run(engine.load())
        loaded = time.monotonic() - began
        output.line(Span(CHECK_QUESTION, "bold"))
        with closing(crossing.events(_answer(engine, spec))) as events:
            ended = None
            for event in events:
                match event:
                    case Interrupt():
                        raise KeyboardInterrupt
                    case PromptRead(done=done, total=total):
                        bar.show("Reading", done=done, total=total)
                    case TextPiece(text=text):
                        bar.clear()
                        output.write(text)
                    case GenerationEnded():
                        ended = event
    if ended is None:
        raise EngineFailed("The model ended without an answer.", hint="Try another model.")
    speed = ended.written_tokens / ended.writing_seconds if ended.writing_seconds else 0.0
    output.line()
    output.line()
    output.line(Span(f"loaded in {duration(loaded)} · {speed:.0f} tokens/s", "dim"))


@asynccontextmanager
async def _closing(engine: Engine) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await engine.close()


async def _answer(engine: Engine, spec: ModelSpec) -> AsyncGenerator[EngineEvent, None]:
    prompt = await engine.encode([Message(Role.USER, CHECK_QUESTION)])
    request = GenerationRequest(
        tokens=prompt,
        slot=0,
        max_tokens=CHECK_TOKENS,
        temperature=0.0,
        top_p=1.0,
        stop=spec.stop_tokens,
    )
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            yield event
