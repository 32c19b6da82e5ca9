"""``doctor``: what works on this machine, what does not, and what to do about it."""

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
import typer

from coding_assistant.cli.bridge import bridge
from coding_assistant.cli.exits import ExitCode
from coding_assistant.cli.options import JsonOption, ProjectOption, chosen_folder, read_settings
from coding_assistant.cli.rendering import count, holder_in_words
from coding_assistant.cli.screen import Screen, Span, standard_output
from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import CodingAssistantError, EngineFailed, NotReady
from coding_assistant.inference.memory import available_bytes, size_in_words
from coding_assistant.settings import Settings

_ENGINE_MODULE = "xllamacpp"
_ENGINE_SECONDS = 60.0
_LITTLE_MEMORY = 3_000_000_000
"""The starter model with its context and the program itself take about 2 GB."""
_LITTLE_DISK = 2_000_000_000
"""The starter model takes 1.1 GB, and twice that while it is put together from its parts."""
_BUILT_IN = "(The one that is built in needs nothing: CODING_ASSISTANT_EMBEDDER=static)"


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what to do unless all is well."""

    what: str
    verdict: Verdict
    detail: str
    advice: str = ""


def doctor(*, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Say what works here and what to do about the rest."""
    output = standard_output()
    findings = list(_examine(project))
    if as_json:
        output.json([_as_json(finding) for finding in findings])
    else:
        _print(output, findings)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise typer.Exit(ExitCode.NOT_READY)


def _examine(project: Path | None) -> Iterator[Finding]:
    yield from _machine()
    yield _engine()
    try:
        settings = read_settings()
    except CodingAssistantError as error:
        yield Finding("settings", Verdict.FAIL, error.message, error.hint)
        return
    yield Finding("settings", Verdict.OK, "read without complaint")
    yield _memory()
    yield _guarded("disk", lambda: _disk(settings))
    yield _guarded("data directory", lambda: _data_directory(settings))
    yield _guarded("model", lambda: _model(settings))
    yield _guarded("embedder", lambda: _embedder(settings))
    yield _guarded("port", lambda: _port(settings))
    yield _guarded("index", lambda: _index(settings, chosen_folder(project)))


def _guarded(what: str, examine: Callable[[], Finding]) -> Finding:
    """Return the finding; what the product or the system refuses is a finding too."""
    try:
        return examine()
    except CodingAssistantError as error:
        return Finding(what, Verdict.FAIL, error.message, error.hint)
    except OSError as error:
        return Finding(what, Verdict.FAIL, f"it cannot be examined: {error.strerror or error}")


# --- The checks -----------------------------------------------------------------------------------


def _machine() -> Iterator[Finding]:
    yield Finding("python", Verdict.OK, f"{platform.python_version()} at {sys.executable}")
    yield Finding("platform", Verdict.OK, platform.platform())
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    few = cores < 2  # noqa: PLR2004  -- one core reads and writes at half the measured speed
    yield Finding(
        "processor",
        Verdict.WARN if few else Verdict.OK,
        f"{platform.machine()}, {count(cores, 'core')}",
        "Answers will be slow." if few else "",
    )


def _engine() -> Finding:
    """Try the native library in a process of its own: where it does not fit the machine it may abort."""
    if importlib.util.find_spec(_ENGINE_MODULE) is None:
        return Finding(
            "engine", Verdict.FAIL, "xllamacpp is not installed", "Install coding-assistant again."
        )
    command = [sys.executable, "-P", "-c", f"import {_ENGINE_MODULE}"]
    try:
        tried = subprocess.run(  # noqa: S603  -- our own interpreter and a constant
            command, capture_output=True, text=True, timeout=_ENGINE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "engine", Verdict.FAIL, "loading it takes over a minute", "Try again with less running."
        )
    if tried.returncode == 0:
        return Finding("engine", Verdict.OK, "llama.cpp loads")
    complaint = (tried.stderr.strip().splitlines() or [f"it ended with {tried.returncode}"])[-1]
    library = "libgomp" in complaint
    advice = (
        "Install libgomp: apt-get install libgomp1" if library else "Is this machine supported? See README."
    )
    return Finding("engine", Verdict.FAIL, complaint, advice)


def _memory() -> Finding:
    available = available_bytes()
    little = available < _LITTLE_MEMORY
    return Finding(
        "memory",
        Verdict.WARN if little else Verdict.OK,
        f"{size_in_words(available)} available of {size_in_words(psutil.virtual_memory().total)}",
        "Close other programs, or choose a smaller model: coding-assistant models list" if little else "",
    )


def _disk(settings: Settings) -> Finding:
    there = next(folder for folder in (settings.models, *settings.models.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    little = free < _LITTLE_DISK
    return Finding(
        "disk",
        Verdict.WARN if little else Verdict.OK,
        f"{size_in_words(free)} free for models at {there}",
        "A model may not fit: free some space, or set CODING_ASSISTANT_MODELS_FOLDER." if little else "",
    )


def _data_directory(settings: Settings) -> Finding:
    directory = DataDirectory(settings.home)
    directory.prepare()
    holder = directory.holder()
    if holder is None:
        return Finding("data directory", Verdict.OK, f"{settings.home}, free")
    who = f"in use by {holder_in_words(holder)}"
    if holder.url is not None:
        return Finding("data directory", Verdict.OK, f"{settings.home}, {who}, which answers at {holder.url}")
    return Finding("data directory", Verdict.WARN, f"{settings.home}, {who}", "Other commands wait for it.")


def _model(settings: Settings) -> Finding:
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.assistant import chosen_model, open_catalog  # noqa: PLC0415

    catalog = open_catalog(settings)
    chosen = chosen_model(catalog, settings)
    catalog.require_file(chosen)
    header = catalog.header_of(chosen)
    others = [spec.name for spec in catalog.specs if spec.name != chosen.name and catalog.file_of(spec)]
    also = f"; also here: {', '.join(others)}" if others else ""
    return Finding("model", Verdict.OK, f"{chosen.name}, {size_in_words(header.file_bytes)}{also}")


def _embedder(settings: Settings) -> Finding:
    from coding_assistant.assistant import make_embedder  # noqa: PLC0415  -- as in _model

    try:
        embedder = make_embedder(settings)
        if embedder is None:
            return Finding("embedder", Verdict.OK, "none: code is found by words alone")
        with closing(embedder):
            dimensions = embedder.embed_query("word").size  # loads its model
    except (EngineFailed, NotReady) as error:
        advice = " ".join(filter(None, (error.hint, _BUILT_IN)))
        return Finding("embedder", Verdict.FAIL, error.message, advice)
    return Finding("embedder", Verdict.OK, f"{settings.embedder} loads, {dimensions} dimensions")


def _port(settings: Settings) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        taken = probe.connect_ex(("127.0.0.1", settings.port)) == 0
    if not taken:
        return Finding("port", Verdict.OK, f"{settings.port} is free for `serve`")
    holder = DataDirectory(settings.home).holder()
    if holder is not None and holder.url is not None and holder.url.endswith(f":{settings.port}"):
        return Finding("port", Verdict.OK, f"{settings.port} is used by our own server")
    return Finding(
        "port",
        Verdict.WARN,
        f"{settings.port} is used by another program",
        f"Serve elsewhere: coding-assistant serve --port {settings.port + 1}",
    )


def _index(settings: Settings, folder: Path) -> Finding:
    from coding_assistant.assistant import open_project_code  # noqa: PLC0415  -- as in _model

    with bridge() as crossing, crossing.within(open_project_code(settings, folder)) as code:
        counts = crossing.run(code.counts())
    if counts is None:
        return Finding("index", Verdict.OK, f"none yet of {folder}; the first question or search makes it")
    return Finding(
        "index", Verdict.OK, f"{count(counts.files, 'file')}, {count(counts.chunks, 'chunk')} of {folder}"
    )


# --- The report -----------------------------------------------------------------------------------


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "what": finding.what,
        "verdict": finding.verdict.value,
        "detail": finding.detail,
        "advice": finding.advice,
    }


def _print(output: Screen, findings: list[Finding]) -> None:
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        verdict = Span(f"{finding.verdict.value:<4}", _STYLES[finding.verdict])
        output.line(verdict, f"  {finding.what:<{width}}  {finding.detail}")
        if finding.advice:
            output.line(" " * (width + 8), Span(finding.advice, "bold"))
