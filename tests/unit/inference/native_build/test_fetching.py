from pathlib import Path

import pytest

from coding_assistant.errors import DownloadFailed
from coding_assistant.inference.native_build.fetching import Pinned, unpack_source
from support.tiny_llama_cpp import source_archive


def test_a_requirement_names_every_hash() -> None:
    pinned = Pinned("ninja", "1.13.2", ("aa", "bb"))

    assert pinned.requirement == "ninja==1.13.2 --hash=sha256:aa --hash=sha256:bb"


def test_of_the_source_llama_cpp_is_unpacked_and_what_is_compiled(tmp_path: Path) -> None:
    archive = tmp_path / "source.tar.gz"
    archive.write_bytes(
        source_archive(
            {
                "setup.py": "",
                "vendor/llama.cpp/CMakeLists.txt": "project(x)",
                "vendor/llama.cpp/src/models/a.cpp": "",
                "vendor/llama.cpp/models/vocabulary.gguf": "",
                "vendor/llama.cpp/../../escaped": "",
                "vendor/other/b.c": "",
            }
        )
    )

    unpack_source(archive, tmp_path / "tree")

    files = [file for file in tmp_path.rglob("*") if file.is_file() and file != archive]
    assert {file.relative_to(tmp_path).as_posix() for file in files} == {
        "tree/CMakeLists.txt",
        "tree/src/models/a.cpp",
    }


def test_a_broken_archive_leaves_no_tree(tmp_path: Path) -> None:
    archive = tmp_path / "source.tar.gz"
    whole = source_archive({"vendor/llama.cpp/CMakeLists.txt": "project(x)" * 1_000})
    archive.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DownloadFailed):
        unpack_source(archive, tmp_path / "tree")

    assert not (tmp_path / "tree").exists()
