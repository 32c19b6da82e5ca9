from pathlib import Path

import pytest

from coding_assistant.inference.native_build.record import BuildRecord, read_record, write_record

RECORD = BuildRecord(
    source="llama-cpp-python 1.0",
    commit="abcdef0",
    version="0.5.0 (build 7, commit abcdef0)",
    compiler="c++ 12.2.0",
    flags=("-DGGML_NATIVE=ON",),
    gpu="",
    cpu="A processor",
    cpu_features=("avx2", "fma"),
    built_at="2026-11-23T01:00:00+00:00",
    server_bytes=12,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path)

    assert read_record(tmp_path) == RECORD


@pytest.mark.parametrize("content", [None, "", "[]", '{"source": "half'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "build.json").write_text(content)

    assert read_record(tmp_path) is None
