"""The programs that can run a model here, and which of them does.

There is always the library that comes bundled as a wheel, built for any processor of the last ten years. A
``llama-server`` that was built for this very processor reads prompts about twice as fast, and one with a GPU
backend uses the GPU. What a program can do it says itself: each is asked by running it, for a bounded time,
outside of the working directory. Knows nothing of models.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from coding_assistant.child_process import child_environment
from coding_assistant.inference.gpu import Device, parse_devices
from coding_assistant.inference.native_build.record import FOLDER, RECORD, SERVER
from coding_assistant.inference.processor import this_processor

NATIVE: Final = "native"
PATH: Final = "path"
NAMED: Final = "named"
BUNDLED: Final = "bundled"

AUTO: Final = "auto"
"""The native program if it works, otherwise the bundled one. Nothing else is preferred unasked."""

WORDS: Final = (AUTO, NATIVE, PATH, BUNDLED)
"""What the setting can say; anything else is the path of a program."""

# A program with a GPU backend wakes the GPU up before it says anything, which takes some seconds.
_PROBE_SECONDS: Final = 20.0

_OPTION_VARIABLES: Final = ("LLAMA_", "MTMD_")

_VERSION: Final = re.compile(
    r"^version: (?:[^\n]*\(build (?P<build>\d+), commit (?P<commit>\w+)\)"
    r"|(?P<number>\d+) \((?P<short>\w+)\))",
    re.MULTILINE,
)
_SYSTEM_INFO: Final = re.compile(r"system_info: [^|\n]*\|(?P<features>[^\n]*)")
_LOADER_ERROR: Final = re.compile(r"error while loading shared libraries: (?P<reason>[^\n]+)")


@dataclass(frozen=True, slots=True)
class EngineProgram:
    """A program that runs models.

    ``kind`` is ``native`` (built here), ``path`` (found on the search path), ``named`` (by the setting) or
    ``bundled``, which has no ``file``: this Python runs it. ``version`` is llama.cpp's build in the program's
    own words, empty if unknown. ``features`` are what it is compiled with and ``devices`` the GPUs that it
    sees, both in its own words. ``fault`` says why it cannot be used, as a sentence; empty if it can.
    """

    kind: str
    file: Path | None
    version: str
    features: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    fault: str = ""

    @property
    def title(self) -> str:
        """What a message calls it."""
        if self.file is None:
            return "the bundled engine"
        return "the native engine" if self.kind == NATIVE else f"the engine {self.file}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The program to use, why, and a warning where another one was wanted and cannot be used.

    ``advice`` is what to do about the warning.
    """

    program: EngineProgram
    reason: str
    warning: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ProgramSearch:
    """Which program is wanted (one of ``WORDS``, or a path), and where programs lie."""

    wanted: str = BUNDLED
    engines_folder: Path | None = None
    search_path: str = ""

    def choose(self) -> Choice:
        """Choose, asking only programs that come into question; blocking."""
        return choose_program(self._candidates(), self.wanted)

    def stand_in_for(self, failed: EngineProgram) -> EngineProgram:
        """Return what runs a model in place of a program that could not load it; blocking."""
        native = self._native() if failed.kind != NATIVE else None
        return _stand_in([native] if native else [])

    def _candidates(self) -> list[EngineProgram]:
        """Return what may be chosen. The bundled one is not asked: that takes half a second."""
        found: EngineProgram | None = None
        if self.wanted == PATH:
            found = _on_path(self.search_path)
        elif self.wanted not in WORDS:
            found = _named(self.wanted)
        candidates = [_asked(found)] if found else []
        if self.wanted != BUNDLED and not any(each for each in candidates if not each.fault):
            candidates += filter(None, [self._native()])
        return [*candidates, BUNDLED_PROGRAM]

    def _native(self) -> EngineProgram | None:
        found = _native(self.engines_folder) if self.engines_folder is not None else None
        return _asked(found) if found else None


BUNDLED_PROGRAM: Final = EngineProgram(
    BUNDLED, None, f"b{version('xllamacpp').rpartition('.')[2]} (xllamacpp {version('xllamacpp')})"
)
"""The bundled program, not asked for its features and devices; ``described`` does that."""


def find_programs(engines_folder: Path, named: str, search_path: str) -> list[EngineProgram]:
    """Return every program that there is, each asked by running it; the bundled one comes last.

    ``named`` is the path that the setting gives, or empty; one that is not there is listed with its fault.
    Blocking: a second or so, longer where a GPU has to wake up.
    """
    found = (
        _native(engines_folder),
        _named(named) if named and named not in WORDS else None,
        _on_path(search_path),
    )
    return [described(each) for each in (*found, BUNDLED_PROGRAM) if each]


def choose_program(programs: Sequence[EngineProgram], wanted: str) -> Choice:
    """Choose among what was found; ``wanted`` is one of ``WORDS`` or the path of a program.

    For any that cannot be used the native one stands in, otherwise the bundled one, with a warning.
    """
    if wanted == BUNDLED:
        return Choice(_bundled(programs), "the setting llama_server says so")
    kind = {AUTO: NATIVE, NATIVE: NATIVE, PATH: PATH}.get(wanted, NAMED)
    program = next((each for each in programs if each.kind == kind), None)
    stand_in = _stand_in(programs)
    if program is None:
        return _without(kind, stand_in, is_wanted=wanted != AUTO)
    if program.fault:
        warning = (
            f"{_capitalised(program.title)} is not used: {program.fault}"
            f" {_capitalised(stand_in.title)} runs instead."
        )
        return Choice(stand_in, f"{program.title} does not work", warning, _ADVICE[kind])
    reasons = {NATIVE: "it was built for this processor", PATH: "the setting llama_server asks for it"}
    return Choice(program, reasons.get(kind, "the setting llama_server names it"))


def described(program: EngineProgram) -> EngineProgram:
    """Return a program with all that it says of itself, also what it is compiled with."""
    if program.file is None:
        return _bundled_described(program)
    asked = _asked(program)
    if asked.fault:
        return asked
    # It tells that only on its way to a model; an empty file is none, and it ends there.
    loading = _run(
        [
            *(str(program.file), "--verbosity", "4", "--model", os.devnull),
            *("--host", "127.0.0.1", "--port", "0"),
        ],
        folder=program.file.parent,
    )
    info = _SYSTEM_INFO.search(loading.output)
    return replace(asked, features=parse_features(info["features"]) if info else ())


def _bundled_described(bundled: EngineProgram) -> EngineProgram:
    command = [sys.executable, "-P", "-m", "coding_assistant.inference.llama_server", "describe"]
    answer = _run(command, folder=Path(sys.executable).parent)
    line = next((line for line in reversed(answer.output.splitlines()) if line.startswith("{")), "")
    try:
        told = _Description.model_validate_json(line)
    except ValidationError:
        return replace(bundled, fault=answer.fault or "It says nothing of itself.")
    devices = tuple(Device(each.name, each.total_bytes, each.free_bytes) for each in told.devices)
    return replace(bundled, features=parse_features(told.system_info), devices=devices)


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for an engine: llama.cpp takes any of its options from variables, too."""
    kept = child_environment(environment)
    return {name: value for name, value in kept.items() if not name.startswith(_OPTION_VARIABLES)}


def parse_features(text: str) -> tuple[str, ...]:
    """Read llama.cpp's list of what it is compiled with: ``CPU : AVX2 = 1 | FMA = 1 | CUDA : ARCHS = 890``.

    Of the processor the features, of any other backend its name.
    """
    features: list[str] = []
    backend = "CPU"
    for part in text.split("|"):
        named, _, fact = part.rpartition(" : ")
        backend = named.strip() or backend
        name, _, value = fact.partition("=")
        feature = name.strip() if backend == "CPU" else backend
        if value.strip() not in ("", "0") and feature not in features:
            features.append(feature)
    return tuple(features)


def parse_version(text: str) -> str:
    """Read what ``llama-server --version`` prints: ``b11549 (abc1234)``; empty if it is not told."""
    told = _VERSION.search(text)
    if told is None:
        return ""
    return f"b{told['build'] or told['number']} ({told['commit'] or told['short']})"


class _DescribedDevice(BaseModel):
    name: str
    total_bytes: int
    free_bytes: int


class _Description(BaseModel):
    system_info: str
    devices: tuple[_DescribedDevice, ...]


class _BuildFacts(BaseModel):
    cpu_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a program printed, and what went wrong with it as a sentence."""

    output: str
    fault: str = ""


def _native(engines_folder: Path) -> EngineProgram | None:
    folder = engines_folder / FOLDER
    file = folder / SERVER
    if not file.is_file():
        return None
    lacking = this_processor().lacks(_built_for(folder / RECORD))
    fault = (
        f"It was built for a processor with {', '.join(lacking)}, which this one lacks;"
        " `coding-assistant engine build` builds it anew."
    )
    return EngineProgram(NATIVE, file, "", fault=fault if lacking else "")


def _built_for(facts: Path) -> tuple[str, ...]:
    """Return the features of the processor that a build was made on; nothing if that is not known."""
    try:
        return _BuildFacts.model_validate_json(facts.read_bytes()).cpu_features
    except (OSError, ValidationError):
        return ()


def _on_path(search_path: str) -> EngineProgram | None:
    # An empty or relative entry means the working directory: often a repository that nobody vouches for.
    entries = [entry for entry in search_path.split(os.pathsep) if Path(entry).is_absolute()]
    found = shutil.which(SERVER, path=os.pathsep.join(entries)) if entries else None
    return EngineProgram(PATH, Path(found), "") if found else None


def _named(path: str) -> EngineProgram:
    file = Path(path).expanduser().absolute()
    return EngineProgram(NAMED, file, "", fault="" if file.is_file() else "There is no such file.")


def _asked(program: EngineProgram) -> EngineProgram:
    """Run a binary to learn what a load depends on: whether it works, its version and its devices."""
    if program.fault or program.file is None:
        return program
    told = _run([str(program.file), "--version"], folder=program.file.parent)
    version_told = parse_version(told.output)
    if told.fault or not version_told:
        return replace(program, fault=told.fault or "It does not tell which llama.cpp it is.")
    listed = _run([str(program.file), "--list-devices"], folder=program.file.parent)
    return replace(program, version=version_told, devices=parse_devices(listed.output))


def _run(command: Sequence[str], *, folder: Path) -> _Answer:
    """Run a program in a folder. llama.cpp loads backends from its working directory, so that is its own."""
    try:
        ended = subprocess.run(  # noqa: S603  -- the user's own engine, or this Python
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_SECONDS,
            cwd=folder,
            env=engine_environment(os.environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _Answer("", f"It gave no answer within {_PROBE_SECONDS:.0f} seconds.")
    except OSError as error:
        return _Answer("", f"It cannot be run: {error.strerror}.")
    output = ended.stdout.decode(errors="replace")
    if ended.returncode == 0:
        return _Answer(output)
    if reason := _LOADER_ERROR.search(output):
        return _Answer(output, f"A library is missing: {reason['reason']}.")
    if ended.returncode < 0:
        return _Answer(output, f"It dies at once (signal {-ended.returncode}).")
    return _Answer(output, f"It ends with exit code {ended.returncode}.")


def _bundled(programs: Sequence[EngineProgram]) -> EngineProgram:
    return next((each for each in programs if each.kind == BUNDLED), BUNDLED_PROGRAM)


def _stand_in(programs: Sequence[EngineProgram]) -> EngineProgram:
    """Return what runs models in place of a program that does not: the native one if it works."""
    native = next((each for each in programs if each.kind == NATIVE and not each.fault), None)
    return native or _bundled(programs)


def _without(kind: str, stand_in: EngineProgram, *, is_wanted: bool) -> Choice:
    """Choose the program that stands in where there is none of the kind that was looked for."""
    if kind == PATH:
        reason = f"there is no {SERVER} on the search path"
    else:
        reason = "nothing was built here; `coding-assistant engine build` does it"
    if not is_wanted:
        return Choice(stand_in, reason)
    title = _capitalised(stand_in.title)
    warning = f"The setting llama_server asks for {kind}, but {reason}. {title} runs instead."
    return Choice(stand_in, reason, warning, _ADVICE[kind])


_WITHOUT: Final = 'or go on without it and without this warning: llama_server = "bundled".'
_ADVICE: Final = {
    NATIVE: f"Build it (`coding-assistant engine build --clean`), {_WITHOUT}",
    PATH: f"Put a llama-server that works on the search path, {_WITHOUT}",
    NAMED: 'Correct the path in the setting llama_server, or set it to "auto": the engine that was built'
    " here, if there is one, otherwise the bundled one.",
}
"""By the kind of program that was wanted."""


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
