"""``engine build``: the engine is compiled, tried with a model, and installed."""

import os
import time
from contextlib import aclosing, closing

from coding_assistant.assistant import chosen_model, make_engine, open_catalog
from coding_assistant.cli.bridge import bridge
from coding_assistant.cli.first_question import QUESTION, closed_at_the_end, first_answer
from coding_assistant.cli.options import read_settings
from coding_assistant.cli.progress import ProgressLine, progress_line
from coding_assistant.cli.rendering import duration
from coding_assistant.cli.screen import Screen, Span, standard_error
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
from coding_assistant.inference.engine_programs import AUTO, NAMED, NATIVE
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
from coding_assistant.inference.processor import this_processor
from coding_assistant.protocols import Engine
from coding_assistant.settings import Settings

BUILD_LOG = "engine-build.log"

_NOT_ITS_FAULT = (InvalidModel, InvalidSetting, ModelBroken, ModelMissing, ModelUnknown, NotEnoughMemory)
"""Errors that keep a new engine from being tried, and say nothing about it."""

_WAIT = "Six to thirty minutes; Ctrl-C stops it, and the next call goes on."


def build_engine(gpu: str, jobs: int | None, *, clean: bool) -> None:
    """Compile the engine unless this very one is installed; ``clean``: anyway, and anew."""
    side = standard_error()
    settings = read_settings()
    directory = DataDirectory(settings.home)
    directory.prepare()
    options = BuildOptions(gpu=gpu, jobs=jobs)
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
