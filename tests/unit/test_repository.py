"""What must hold of every tracked file: no addresses of registries, no paths of one machine, no weights."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Put together from halves, so that this file does not find itself.
FORBIDDEN = {
    "a registry's address": re.compile(
        r"py" r"pi\.org|python" r"hosted\.org|registry\.npm" r"js|deb\.deb" r"ian\.org|snapshot\.deb" r"ian"
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|ho" r"me/\w+|tmp/weights|Users/\w+)/"),
}
WEIGHTS = {".gguf", ".safetensors", ".onnx", ".bin", ".pt"}
LARGEST_BYTES = 500_000
WORD_VECTORS = "src/coding_assistant/embedding/table/vectors.npy"  # the one that comes with the package


@cache
def tracked_files() -> tuple[Path, ...]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nobody can tell which files are tracked")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607  # whichever git the developer has
    return tuple(file for name in listing.stdout.split("\0") if name and (file := ROOT / name).is_file())


@cache
def texts() -> dict[str, str]:
    return {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8", errors="replace")
        for file in tracked_files()
    }


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_tracked_file_names(kind: str) -> None:
    found = [
        f"{name}: {match[0]}" for name, text in texts().items() if (match := FORBIDDEN[kind].search(text))
    ]
    assert not found


def test_no_tracked_file_is_weights_or_otherwise_large() -> None:
    large = [
        file.relative_to(ROOT).as_posix()
        for file in tracked_files()
        if file.suffix in WEIGHTS or file.stat().st_size > LARGEST_BYTES
        if file.parent.name != "results"  # of benchmarks: every question's scores
    ]
    assert large == [WORD_VECTORS]


def test_every_pinned_package_has_hashes() -> None:
    records = re.split(r"\n(?=\S)", (ROOT / "constraints.txt").read_text().strip())

    assert records
    assert not [
        record for record in records if not re.match(r"[\w.-]+==\S.*--hash=sha256:", record, re.DOTALL)
    ]


def test_the_files_that_the_readme_names_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", readme)) | set(
        re.findall(r"`(docs/[\w./-]+)`", readme)
    )

    assert not [name for name in named if not (ROOT / name).exists()]
