import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.errors import InvalidRequest, SystemLacks
from coding_assistant.inference.native_build.toolchain import (
    BuildTools,
    build_path,
    fetched_tools,
    installed_tools,
    require_compiler,
    require_gpu,
    version_of,
)

CMAKE, NINJA = "cmake version 3.31.10", "1.11.1"


def put_tool(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tool = folder / name
    tool.write_text(f"#!/bin/sh\necho '{says}'\n")
    tool.chmod(0o755)
    return tool


def test_a_search_path_never_leads_to_the_working_directory(tmp_path: Path) -> None:
    entries = ["", ".", "bin", str(tmp_path), "../up"]

    assert build_path(os.pathsep.join(entries)) == str(tmp_path)


def test_a_toolkit_is_looked_for_where_it_usually_lies_too(tmp_path: Path) -> None:
    entries = build_path(str(tmp_path), gpu="cuda").split(os.pathsep)

    assert entries[0] == str(tmp_path)
    assert "/usr/local/cuda/bin" in entries


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SystemLacks) as refusal:
        require_compiler({"PATH": str(tmp_path)})

    assert "apt-get install g++" in refusal.value.hint


def test_a_compiler_that_does_not_run_is_none(tmp_path: Path) -> None:
    put_tool(tmp_path, "c++", "").write_text("#!/bin/sh\nexit 1\n")

    with pytest.raises(SystemLacks):
        require_compiler({"PATH": str(tmp_path)})


@pytest.mark.parametrize("name", ["c++", "g++", "clang++"])
def test_the_compiler_says_its_version(tmp_path: Path, name: str) -> None:
    put_tool(tmp_path, name, "compiler 12.2.0")

    assert require_compiler({"PATH": str(tmp_path)}) == "compiler 12.2.0"


def test_a_compiler_that_is_named_counts_alone(tmp_path: Path) -> None:
    put_tool(tmp_path, "c++", "compiler 12.2.0")
    named = put_tool(tmp_path / "elsewhere", "mine", "compiler 15.1")

    assert require_compiler({"PATH": str(tmp_path), "CXX": str(named)}) == "compiler 15.1"
    with pytest.raises(SystemLacks):
        require_compiler({"PATH": str(tmp_path), "CXX": "absent"})


def test_good_tools_of_the_path_are_used(tmp_path: Path) -> None:
    cmake, ninja = put_tool(tmp_path, "cmake", CMAKE), put_tool(tmp_path, "ninja", NINJA)

    assert installed_tools({"PATH": str(tmp_path)}) == BuildTools(cmake, ninja)


@pytest.mark.parametrize(("cmake", "ninja"), [("cmake version 3.10.2", NINJA), (CMAKE, "1.5"), (CMAKE, "")])
def test_tools_that_are_too_old_or_broken_are_not(tmp_path: Path, cmake: str, ninja: str) -> None:
    put_tool(tmp_path, "cmake", cmake)
    put_tool(tmp_path, "ninja", ninja)

    assert installed_tools({"PATH": str(tmp_path)}) is None


def test_one_tool_alone_is_not_enough(tmp_path: Path) -> None:
    put_tool(tmp_path, "cmake", CMAKE)

    assert installed_tools({"PATH": str(tmp_path)}) is None


def test_tools_that_were_fetched_are_found_again(tmp_path: Path) -> None:
    assert fetched_tools(tmp_path) is None

    put_tool(tmp_path / "cmake/data/bin", "cmake", CMAKE)
    put_tool(tmp_path / "bin", "ninja", NINJA)

    assert fetched_tools(tmp_path) is not None


def test_a_gpu_is_taken_where_its_toolkit_is(tmp_path: Path) -> None:
    put_tool(tmp_path, "nvcc", "release 12.8")

    assert require_gpu("cuda", {"PATH": str(tmp_path)}).flags == ("-DGGML_CUDA=ON",)


@pytest.mark.parametrize(("gpu", "package"), [("vulkan", "libvulkan-dev"), ("metal", "xcode-select")])
def test_a_toolkit_that_is_missing_is_named_with_its_package(tmp_path: Path, gpu: str, package: str) -> None:
    with pytest.raises(SystemLacks) as refusal:
        require_gpu(gpu, {"PATH": str(tmp_path)})

    assert package in refusal.value.hint


def test_an_unknown_gpu_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        require_gpu("voodoo", {})

    assert "cuda, rocm, vulkan, metal" in refusal.value.hint


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=4))
def test_a_version_is_found_in_what_a_program_says(numbers: list[int]) -> None:
    said = ".".join(map(str, numbers))

    assert version_of(f"tool version {said} of today") == tuple(numbers)


def test_no_version_is_older_than_any() -> None:
    assert version_of("no number") < (0, 0)
