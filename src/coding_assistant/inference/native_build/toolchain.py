"""What compiles: the C++ compiler and a GPU's toolkit of this machine, CMake and Ninja of it or fetched."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from coding_assistant.errors import InvalidRequest, SystemLacks

_PROBE_SECONDS: Final = 60.0
_VERSION: Final = re.compile(r"\d+(?:\.\d+)+")

# What llama.cpp's build files ask for; and the oldest Ninja that CMake works with.
_OLDEST: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType({"cmake": (3, 21), "ninja": (1, 8)})
_COMPILERS: Final = ("c++", "g++", "clang++")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A way to compute on a GPU: what switches it on, and by what its toolkit is known to be here."""

    name: str
    title: str
    flags: tuple[str, ...]
    tool: str
    elsewhere: tuple[Path, ...]
    advice: str


GPUS: Final[Mapping[str, Gpu]] = MappingProxyType(
    {
        gpu.name: gpu
        for gpu in (
            Gpu(
                name="cuda",
                title="NVIDIA's CUDA",
                flags=("-DGGML_CUDA=ON",),
                tool="nvcc",
                elsewhere=(Path("/usr/local/cuda/bin"), Path("/opt/cuda/bin")),
                advice="Debian and Ubuntu: apt-get install nvidia-cuda-toolkit",
            ),
            Gpu(
                name="rocm",
                title="AMD's ROCm",
                flags=("-DGGML_HIP=ON",),
                tool="hipcc",
                elsewhere=(Path("/opt/rocm/bin"),),
                advice="Debian and Ubuntu: apt-get install hipcc libhipblas-dev librocblas-dev",
            ),
            Gpu(
                name="vulkan",
                title="Vulkan",
                flags=("-DGGML_VULKAN=ON",),
                tool="glslc",
                elsewhere=(),
                advice="Debian and Ubuntu: apt-get install glslc libvulkan-dev spirv-headers",
            ),
            Gpu(
                name="metal",
                title="Apple's Metal",
                flags=("-DGGML_METAL=ON",),
                tool="xcrun",
                elsewhere=(),
                advice="It is macOS's, and comes with Apple's command line tools: xcode-select --install",
            ),
        )
    }
)


@dataclass(frozen=True, slots=True)
class BuildTools:
    """CMake and Ninja."""

    cmake: Path
    ninja: Path


def build_path(search_path: str, *, gpu: str = "") -> str:
    """Return the PATH to build with: to it are added the folders where a GPU's toolkit usually lies.

    Without the entries that mean the working directory, which is often a repository, of anybody's.
    """
    usual = GPUS[gpu].elsewhere if gpu in GPUS else ()
    entries = [*search_path.split(os.pathsep), *map(str, usual)]
    return os.pathsep.join(entry for entry in entries if Path(entry).is_absolute())


def require_compiler(environment: Mapping[str, str]) -> str:
    """Return the C++ compiler's version as it says itself; raise ``SystemLacks`` where there is none."""
    search_path = environment.get("PATH", "")
    named = environment.get("CXX", "")
    for candidate in (named,) if named else _COMPILERS:
        found = shutil.which(candidate, path=search_path)
        if found and (said := _first_line(Path(found))):
            return said
    raise SystemLacks(
        "Compiling the engine needs a C++ compiler, and there is none here.",
        hint="Debian and Ubuntu: apt-get install g++ · Fedora: dnf install gcc-c++"
        " · Alpine: apk add g++ · macOS: xcode-select --install",
    )


def require_gpu(name: str, environment: Mapping[str, str]) -> Gpu:
    """Return the way to compute on a GPU.

    Raises ``InvalidRequest`` for a name that is none, and ``SystemLacks`` where its toolkit is not installed.
    """
    gpu = GPUS.get(name)
    if gpu is None:
        raise InvalidRequest(f"{name} is no kind of GPU.", hint=f"There are: {', '.join(GPUS)}.")
    is_for_here = gpu.name != "metal" or sys.platform == "darwin"
    if is_for_here and shutil.which(gpu.tool, path=environment.get("PATH", "")):
        return gpu
    raise SystemLacks(
        f"Compiling for {gpu.title} needs its toolkit, and {gpu.tool} is not here.", hint=gpu.advice
    )


def installed_tools(environment: Mapping[str, str]) -> BuildTools | None:
    """Return CMake and Ninja of the PATH, if both are there and new enough."""
    search_path = environment.get("PATH", "")
    cmake, ninja = shutil.which("cmake", path=search_path), shutil.which("ninja", path=search_path)
    return _working(cmake and Path(cmake), ninja and Path(ninja))


def fetched_tools(folder: Path) -> BuildTools | None:
    """Return CMake and Ninja out of the wheels installed into ``folder``, if they are there and work."""
    return _working(folder / "cmake/data/bin/cmake", folder / "bin/ninja")


def _working(cmake: Path | str | None, ninja: Path | str | None) -> BuildTools | None:
    if not (isinstance(cmake, Path) and isinstance(ninja, Path)):
        return None
    is_good = all(version_of(_first_line(each)) >= _OLDEST[each.name] for each in (cmake, ninja))
    return BuildTools(cmake, ninja) if is_good else None


def version_of(said: str) -> tuple[int, ...]:
    """Return the first version number in what a program says of itself; nothing where there is none."""
    found = _VERSION.search(said)
    return tuple(map(int, found[0].split("."))) if found else ()


def _first_line(program: Path) -> str:
    """Return what a program says of its version; nothing where it does not run, as macOS's bare stand-ins."""
    try:
        said = subprocess.run(  # noqa: S603  -- a compiler or build tool of the PATH
            [program, "--version"], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip().partition("\n")[0] if said.returncode == 0 else ""
