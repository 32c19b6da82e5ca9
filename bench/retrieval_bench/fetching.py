"""Fetches corpora by package name and exact version, with the registries' own clients.

The clients are asked as they are configured: which host answers is their affair. Debian's hosts keep only
the newest version of each release; of a source package (its configuration needs ``deb-src``) the upstream
archive is taken, without Debian's patches.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from retrieval_bench.corpora import Corpus, Registry

PATIENCE_SECONDS = 600

_ARCHIVES = MappingProxyType(
    {
        Registry.PYPI: "*.tar.gz",
        Registry.NPM: "*.tgz",
        Registry.DEBIAN: "*.deb",
        Registry.DEBIAN_SOURCE: "*.orig.tar.?z*",
    }
)


class FetchFailed(Exception):
    """A corpus could not be had."""


def fetch(corpus: Corpus, cache: Path) -> Path:
    """Return the project's folder in the cache, after fetching and unpacking it if it is not there yet."""
    place = corpus.place(cache)
    if place.is_dir():
        return place
    downloads = cache / "downloads" / place.name
    for parent in (downloads.parent, place.parent):
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        if not downloads.is_dir():
            arriving = Path(folder) / "arriving"
            arriving.mkdir()
            _run(_download_command(corpus), arriving)
            arriving.rename(downloads)
        unpacked = Path(folder) / "unpacked"
        _unpack(corpus, downloads, unpacked)
        project = unpacked / (corpus.folder or _single_folder(unpacked))
        if not project.is_dir():
            raise FetchFailed(f"{corpus.package} {corpus.version} has no folder {corpus.folder!r}")
        shutil.move(project, place)
    return place


def _download_command(corpus: Corpus) -> list[str]:
    exact = f"{corpus.package}={corpus.version}"
    match corpus.registry:
        case Registry.PYPI:
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
            return [*pip, f"{corpus.package}=={corpus.version}"]
        case Registry.NPM:
            return ["npm", "pack", f"{corpus.package}@{corpus.version}"]
        case Registry.DEBIAN:
            return ["apt-get", "download", exact]
        case Registry.DEBIAN_SOURCE:
            return ["apt-get", "source", "--download-only", "--only-source", "--tar-only", exact]


def _unpack(corpus: Corpus, downloads: Path, target: Path) -> None:
    archive = _single(downloads, _ARCHIVES[corpus.registry])
    if corpus.registry is Registry.DEBIAN:
        _run(["dpkg", "-x", str(archive), str(target)], downloads)
        return
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")


def _single(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FetchFailed(f"expected one {pattern} in {folder.name}, found {len(found)}")
    return found[0]


def _single_folder(unpacked: Path) -> str:
    folders = [entry.name for entry in unpacked.iterdir() if entry.is_dir()]
    if len(folders) != 1:
        raise FetchFailed(f"{unpacked.name} holds {len(folders)} folders: say which one in the table")
    return folders[0]


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise FetchFailed(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise FetchFailed(f"{command[0]} took more than {PATIENCE_SECONDS} seconds") from error
    if done.returncode != 0:
        raise FetchFailed(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-500:]}")
