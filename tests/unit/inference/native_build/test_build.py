import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.errors import DiskFull, StorageFailed, SystemLacks
from coding_assistant.inference.native_build.build import (
    BuildOptions,
    Compiling,
    EngineBuild,
    default_jobs,
    ninja_progress,
)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def build_in(folder: Path, path: str = os.defpath) -> EngineBuild:
    return EngineBuild(folder / "engines", BuildOptions(), log=folder / "log", environment={"PATH": path})


@given(done=st.integers(0, 10_000), total=st.integers(1, 10_000), rest=st.text())
def test_ninja_says_how_far_it_is(done: int, total: int, rest: str) -> None:
    assert ninja_progress(f"[{done}/{total}] {rest}") == Compiling(done, total)


@pytest.mark.parametrize(
    "line", ["", "ninja: entering directory", "note: see [1/2] above", "[1/2]", "FAILED: x"]
)
def test_other_lines_say_nothing_of_it(line: str) -> None:
    assert ninja_progress(line) is None


def test_there_is_a_compiler_at_work_at_least() -> None:
    assert 1 <= default_jobs() <= (os.cpu_count() or 1)


def test_without_a_compiler_nothing_is_fetched(tmp_path: Path) -> None:
    build = build_in(tmp_path, path=str(tmp_path))

    with build.opened(), pytest.raises(SystemLacks):
        list(build.compile())

    assert not (tmp_path / "engines" / "work").exists()


@pytest.mark.skipif(not shutil.which("c++", path=os.defpath), reason="no compiler here")
def test_too_little_room_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 9 * 10**8, 10**8))
    build = build_in(tmp_path)

    with build.opened(), pytest.raises(DiskFull, match="100 MB are free"):
        list(build.compile())


def test_beginning_anew_throws_away_what_was_left(tmp_path: Path) -> None:
    left = tmp_path / "engines" / "work" / "build-1" / "object.o"
    left.parent.mkdir(parents=True)
    left.touch()

    with build_in(tmp_path).opened():
        assert left.exists()
    with build_in(tmp_path).opened(clean=True):
        assert not left.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "engines").touch()

    with pytest.raises(StorageFailed, match="engines"), build_in(tmp_path).opened():
        pass


def test_nothing_counts_as_installed_where_nothing_is(tmp_path: Path) -> None:
    assert build_in(tmp_path).installed() is None
