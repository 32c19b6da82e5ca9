"""The whole build with the real pip, CMake, Ninja and compiler, of a source that takes a second."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from coding_assistant.errors import Busy, DownloadFailed, EngineFailed, SystemLacks
from coding_assistant.inference.native_build.build import (
    BuildEvent,
    BuildOptions,
    Built,
    Compiling,
    Configuring,
    EngineBuild,
    Unpacking,
)
from coding_assistant.inference.native_build.fetching import Fetching, SourcePackage
from coding_assistant.inference.processor import this_processor
from support.origin_servers import OriginServer, origin_server
from support.tiny_llama_cpp import LATE, MAIN, VERSION, offer_source

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("cmake", "ninja", "c++"))), reason="no compiler, CMake or Ninja here"
)

BUILD_IN_A_PROCESS = """
import os, sys
from pathlib import Path
from coding_assistant.inference.native_build.build import BuildOptions, Compiling, EngineBuild
from coding_assistant.inference.native_build.fetching import Pinned, SourcePackage

folder, sha256 = Path(sys.argv[1]), sys.argv[2]
source = SourcePackage(Pinned("tiny-llama", "1.0", (sha256,)), "abcdef0123456789", 7, "tiny_back_end.build")
work = EngineBuild(
    folder / "engines", BuildOptions(jobs=1, source=source), log=folder / "log", environment=os.environ
)
with work.opened():
    for event in work.compile():
        print(type(event).__name__, flush=True)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OriginServer]:
    """A package index, and an environment in which pip knows no other."""
    for name in os.environ:
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with origin_server() as server:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        yield server


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What compiling waits for: it is here."""
    file = tmp_path / "gate"
    file.write_text(LATE)
    return file


def build_of(source: SourcePackage, folder: Path) -> EngineBuild:
    options = BuildOptions(jobs=1, source=source)
    return EngineBuild(folder / "engines", options, log=folder / "log", environment=os.environ)


def compiled(build: EngineBuild) -> list[BuildEvent]:
    with build.opened(), closing(build.compile()) as events:
        return list(events)


def test_a_server_is_fetched_compiled_tried_and_installed(
    server: OriginServer, gate: Path, tmp_path: Path
) -> None:
    build = build_of(offer_source(server, gate=gate), tmp_path)

    events = compiled(build)
    installed = build.install()

    kinds = list(dict.fromkeys(map(type, events)))
    assert kinds == [Fetching, Unpacking, Configuring, Compiling, Built]
    said = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"version: {VERSION}\n"
    record = json.loads((installed.parent / "build.json").read_text())
    assert record["source"] == "tiny-llama 1.0"
    assert record["version"] == VERSION
    assert record["cpu_features"] == list(this_processor().features)
    assert record["server_bytes"] == installed.stat().st_size
    assert not (tmp_path / "engines" / "work").exists()
    assert build.installed() == installed


def test_an_engine_of_another_source_does_not_count_as_installed(
    server: OriginServer, gate: Path, tmp_path: Path
) -> None:
    source = offer_source(server, gate=gate)
    build = build_of(source, tmp_path)
    compiled(build)
    build.install()

    newer = replace(source, pinned=replace(source.pinned, version="1.1"))

    assert build_of(newer, tmp_path).installed() is None


def test_a_killed_build_leaves_no_process_and_the_next_one_goes_on(
    server: OriginServer, gate: Path, tmp_path: Path
) -> None:
    source = offer_source(server, gate=gate)
    gate.unlink()
    os.mkfifo(gate)  # nobody writes to it: compiling waits in the middle
    command = [sys.executable, "-c", BUILD_IN_A_PROCESS, str(tmp_path), source.pinned.sha256[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while "Compiling" not in process.stdout.readline():
            assert process.poll() is None
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert started
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive

    gate.unlink()
    gate.write_text(LATE)
    build = build_of(source, tmp_path)
    events = compiled(build)

    assert not any(isinstance(event, Fetching | Unpacking) for event in events)
    assert next(event.total for event in events if isinstance(event, Compiling)) < 5
    assert isinstance(events[-1], Built)


def test_what_does_not_compile_is_said_in_the_compilers_words_and_the_log_is_kept(
    server: OriginServer, gate: Path, tmp_path: Path
) -> None:
    build = build_of(offer_source(server, gate=gate, main="#error no such day\n" + MAIN), tmp_path)

    with pytest.raises(EngineFailed, match="no such day") as failure:
        compiled(build)

    assert str(tmp_path / "log") in failure.value.hint
    assert "no such day" in (tmp_path / "log").read_text()
    assert build.installed() is None


def test_a_source_with_other_bytes_than_those_pinned_is_refused(
    server: OriginServer, gate: Path, tmp_path: Path
) -> None:
    source = offer_source(server, gate=gate)
    other = replace(source, pinned=replace(source.pinned, sha256=("0" * 64,)))

    with pytest.raises(DownloadFailed, match="HASHES"):
        compiled(build_of(other, tmp_path))


def test_an_index_without_the_source_is_named_with_pips_reason(
    server: OriginServer, gate: Path, tmp_path: Path
) -> None:
    source = offer_source(server, gate=gate)
    absent = replace(source, pinned=replace(source.pinned, package="absent-llama"))

    with pytest.raises(DownloadFailed, match=r"absent-llama .*No matching distribution"):
        compiled(build_of(absent, tmp_path))


def test_an_index_out_of_reach_is_no_index_without_the_source(
    server: OriginServer, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = offer_source(server, gate=gate)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(DownloadFailed, match="Connection refused"):
        compiled(build_of(source, tmp_path))


def test_half_a_toolkit_is_named_with_the_package_that_has_the_rest(
    server: OriginServer, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glslc = tmp_path / "glslc"
    glslc.write_text("#!/bin/sh\n")
    glslc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    options = BuildOptions(gpu="vulkan", source=offer_source(server, gate=gate))
    build = EngineBuild(tmp_path / "engines", options, log=tmp_path / "log", environment=os.environ)

    with pytest.raises(SystemLacks, match="AbsentToolkit") as refusal:
        compiled(build)

    assert "libvulkan-dev" in refusal.value.hint


def test_two_builds_do_not_get_in_each_others_way(server: OriginServer, gate: Path, tmp_path: Path) -> None:
    source = offer_source(server, gate=gate)

    with build_of(source, tmp_path).opened(), pytest.raises(Busy), build_of(source, tmp_path).opened():
        pass


@pytest.mark.skipif("BUILD_LLAMA_CPP" not in os.environ, reason="takes half an hour: BUILD_LLAMA_CPP=1")
@pytest.mark.timeout(7_200)
def test_the_pinned_llama_cpp_compiles_here(tmp_path: Path) -> None:
    build = EngineBuild(tmp_path / "engines", BuildOptions(), log=tmp_path / "log", environment=os.environ)

    built = compiled(build)[-1]

    assert isinstance(built, Built)
    assert "build 11312, commit 0c1e57098" in built.record.version
