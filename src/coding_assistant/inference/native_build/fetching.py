"""Fetch what a build needs from the package index: llama.cpp's source, CMake and Ninja.

The package installer does it, which knows the user's own index, mirror, proxy and certificates: no address
stands here. Everything is pinned by hash.
"""

import re
import shutil
import sys
import tarfile
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coding_assistant.errors import DownloadFailed
from coding_assistant.inference.native_build.steps import StepFailed, Steps

# With `raw`, pip prints each change as "Progress 1234 of 5678".
_PROGRESS: Final = re.compile(r"Progress (?P<done>\d+) of (?P<total>\d+)")
_PIP: Final = (sys.executable, "-P", "-m", "pip")
_PIP_OPTIONS: Final = ("--no-deps", "--require-hashes", "--no-cache-dir", "--progress-bar", "raw")
_PIP_VARIABLES: Final = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}

_BROKEN: Final = "connection broken by "

# Vocabularies, documents and tests: 120 of 176 MB, of which nothing is compiled.
_NOT_COMPILED: Final = frozenset({"benches", "docs", "examples", "media", "models", "pocs", "tests"})


@dataclass(frozen=True, slots=True)
class Pinned:
    """A package of the index in one version; there is a hash for each platform's file."""

    package: str
    version: str
    sha256: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """As pip reads it in a file of requirements."""
        return " ".join(
            [f"{self.package}=={self.version}", *(f"--hash=sha256:{each}" for each in self.sha256)]
        )


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A source distribution that carries llama.cpp in the folder ``vendor/llama.cpp``.

    ``commit`` and ``build`` are what llama.cpp calls that state of itself; the archive cannot be asked.
    ``back_end`` is what its ``pyproject.toml`` names to build it.
    """

    pinned: Pinned
    commit: str
    build: int
    back_end: str


@dataclass(frozen=True, slots=True)
class Fetching:
    """So many bytes of a package are here; without a total the index has not answered yet."""

    package: str
    done_bytes: int = 0
    total_bytes: int | None = None


def fetch_source(source: SourcePackage, folder: Path, steps: Steps) -> Generator[Fetching, None, Path]:
    """Fetch the source distribution into ``folder`` and return its file; nothing of it is run.

    Raises ``DownloadFailed``.
    """
    pinned = source.pinned
    downloads = _empty(folder / "download")
    stand_in = _write_back_end(source, _empty(folder / "back-end"))
    options = ["--no-binary", pinned.package, "--no-build-isolation", "--dest", str(downloads)]
    command = [*_PIP, "download", *_PIP_OPTIONS, *options]
    yield from _run_pip(command, [pinned], steps=steps, scratch=folder, PYTHONPATH=str(stand_in))
    found = next(downloads.glob("*.tar.gz"), None)
    if found is None:
        raise DownloadFailed(
            f"{pinned.package} {pinned.version} came as something that is no source archive."
        )
    return found


def fetch_tools(tools: Sequence[Pinned], folder: Path, steps: Steps) -> Generator[Fetching, None, None]:
    """Install wheels of tools into ``folder``, a place of their own. Raises ``DownloadFailed``."""
    staging = _empty(folder.with_name(f"{folder.name}.partial"))
    options = ["--only-binary", ":all:", "--target", str(staging), "--no-warn-script-location"]
    yield from _run_pip(
        [*_PIP, "install", *_PIP_OPTIONS, *options], tools, steps=steps, scratch=folder.parent
    )
    shutil.rmtree(folder, ignore_errors=True)
    staging.replace(folder)


def unpack_source(archive: Path, folder: Path) -> None:
    """Put llama.cpp's tree into ``folder``, which appears when it is whole. Raises ``DownloadFailed``."""
    staging = _empty(folder.with_name(f"{folder.name}.partial"))
    try:
        with tarfile.open(archive, "r|gz") as members:
            for member in members:
                inside = Path(*Path(member.name).parts[1:])
                if member.isfile() and _is_compiled(inside) and (content := members.extractfile(member)):
                    target = staging / inside.relative_to("vendor/llama.cpp")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise DownloadFailed(f"{archive.name} cannot be unpacked: {error}.") from error
    shutil.rmtree(folder, ignore_errors=True)
    staging.replace(folder)


def _is_compiled(inside: Path) -> bool:
    is_llama = inside.parts[:2] == ("vendor", "llama.cpp") and ".." not in inside.parts
    return is_llama and inside.parts[2] not in _NOT_COMPILED


def _write_back_end(source: SourcePackage, folder: Path) -> Path:
    """Write a stand-in for the package's build back end, and return the folder to import it from.

    Before pip keeps a source distribution it asks that back end for the package's dependencies: a further
    package, with some of its own, to be fetched and run for an answer that nobody wants here.
    """
    name, version = source.pinned.package.replace("-", "_"), source.pinned.version
    module = folder.joinpath(*source.back_end.split(".")).with_suffix(".py")
    module.parent.mkdir(parents=True)
    module.write_text(
        "import pathlib\n"
        "def prepare_metadata_for_build_wheel(folder, config_settings=None):\n"
        f"    info = pathlib.Path(folder, '{name}-{version}.dist-info')\n"
        "    info.mkdir()\n"
        "    (info / 'METADATA').write_text(\n"
        f"        'Metadata-Version: 2.1\\nName: {source.pinned.package}\\nVersion: {version}\\n')\n"
        "    return info.name\n",
        encoding="utf-8",
    )
    return folder


def _run_pip(
    command: Sequence[str], packages: Sequence[Pinned], *, steps: Steps, scratch: Path, **variables: str
) -> Generator[Fetching, None, None]:
    """Run pip over the packages; what it unpacks on the way goes to ``scratch``, as /tmp may be small."""
    requirements = scratch / "requirements.txt"
    requirements.write_text("".join(f"{each.requirement}\n" for each in packages), encoding="utf-8")
    names = " and ".join(each.package for each in packages)
    given = [*command, "--requirement", str(requirements)]
    lines = steps.run(given, **_PIP_VARIABLES, TMPDIR=str(scratch), **variables)
    yield Fetching(names)
    try:
        for line in lines:
            if progress := _PROGRESS.search(line):
                yield Fetching(names, int(progress["done"]), int(progress["total"]))
    except StepFailed as failure:
        raise DownloadFailed(
            f"{names} could not be fetched from the package index: {_reason(failure.tail)}",
            hint=f"Check the connection and try again. The whole log: {steps.log}",
        ) from failure
    finally:
        lines.close()


def _reason(tail: Sequence[str]) -> str:
    """Return what went wrong in one line: pip's errors, or for lack of them its last line."""
    errors = [line.removeprefix("ERROR: ") for line in tail if line.startswith("ERROR: ")]
    # It reports an index out of reach as one that has no such package; the cause is in its warnings.
    broken = [line.partition(_BROKEN)[2] for line in tail if _BROKEN in line]
    return " ".join([*broken[-1:], *errors] or tail[-1:] or ["pip gave no reason"])


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
