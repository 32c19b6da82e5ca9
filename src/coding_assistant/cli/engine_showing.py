"""``engine show``: what can run a model here, which of them does and why, and how fast they are."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from coding_assistant.assistant import chosen_model, make_engine, open_catalog
from coding_assistant.cli.bridge import bridge
from coding_assistant.cli.first_question import closed_at_the_end
from coding_assistant.cli.options import read_settings
from coding_assistant.cli.progress import progress_line
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.data_directory import DataDirectory
from coding_assistant.inference.engine_programs import (
    NAMED,
    Choice,
    EngineProgram,
    choose_program,
    find_programs,
)
from coding_assistant.inference.engine_speeds import EngineSpeed, EngineSpeeds, measure
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.processor import this_processor
from coding_assistant.settings import OPENAI, Settings

ENGINE_SPEEDS_FILE = "engine-speeds.json"

_MEASURED_CONTEXT_TOKENS = 1_024
_NOT_MEASURED = "How fast they are: coding-assistant engine show --measure"


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


def show_engines(model: str | None, *, measured: bool, as_json: bool) -> None:
    """Show the engines, measured first with the model if that is asked for."""
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
        output.line(Span(f"{choice.warning} {choice.advice}".rstrip(), "yellow"))
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
