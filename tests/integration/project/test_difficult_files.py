import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from coding_assistant.domain import Chunk, FoundFile, SkippedFile, SkipReason, SourceFile
from coding_assistant.project.chunk_process import ChunkProcess
from coding_assistant.project.walk import read, walk

ORDINARY = "def f():\n    return 1\n"
GENERATED = "values = [\n" + "    1, 2, 3, 4, 5, 6, 7, 8,\n" * 180_000 + "]\n"
CALLBACKS = "\n".join(f"{' ' * n}step(function () {{" for n in range(400)) + "\n" + "})\n" * 400
NOTEBOOK = {"cells": [{"cell_type": "code", "outputs": ["A" * 20_000_000], "source": ["x = 1"]}]}


def test_files_that_nobody_wrote_by_hand_hold_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "generated.py").write_text(GENERATED)
    (tmp_path / "one_line.js").write_text("a=1;" * 500_000)
    (tmp_path / "one_short_line.js").write_text("a=1;" * 200_000)
    (tmp_path / "nested.json").write_text("[\n" * 200_000)
    (tmp_path / "nested.py").write_text("(\n" * 200_000)
    (tmp_path / "callbacks.js").write_text(CALLBACKS)
    (tmp_path / "pictures.ipynb").write_text(json.dumps(NOTEBOOK, indent=1))
    (tmp_path / "nested.ipynb").write_text('{"cells":\n' + "[\n" * 400_000)
    (tmp_path / "ordinary.py").write_text(ORDINARY)
    skipped: dict[str, SkipReason] = {}

    def sources() -> Iterator[SourceFile]:
        for found in walk(tmp_path):
            file = read(tmp_path, found) if isinstance(found, FoundFile) else found
            if isinstance(file, SkippedFile):
                skipped[str(file.path)] = file.reason
            else:
                yield file

    with ChunkProcess() as process:
        chunks: dict[PurePosixPath, list[Chunk]] = {
            file.path: chunks for file, chunks in process.chunk_many(sources())
        }
    assert skipped == {
        "generated.py": SkipReason.TOO_LARGE,
        "one_line.js": SkipReason.TOO_LARGE,
        "one_short_line.js": SkipReason.MINIFIED,
        "pictures.ipynb": SkipReason.TOO_LARGE,
    }
    assert chunks[PurePosixPath("ordinary.py")][0].symbol == "f"
    for name in ("nested.json", "nested.py", "callbacks.js", "nested.ipynb"):
        (text,) = ["\n".join(each.text for each in chunks[PurePosixPath(name)])]
        assert text == (tmp_path / name).read_text().rstrip("\n")
