import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from coding_assistant.data_directory import DataDirectory, Holder
from coding_assistant.errors import DataDirectoryLocked, DataDirectoryUnusable

HOLD = """
import subprocess, sys
from pathlib import Path
from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import DataDirectoryLocked

home, with_child = Path(sys.argv[1]), len(sys.argv) > 2
print("ready", flush=True)
sys.stdin.readline()
try:
    with DataDirectory(home).hold("serve", "http://127.0.0.1:8000"):
        if with_child:
            print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid, flush=True)
        print("held", flush=True)
        sys.stdin.readline()
except DataDirectoryLocked:
    print("locked", flush=True)
"""


class Contender:
    """A process of its own that takes the data directory when told to, and keeps it until told to end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def hears(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def contender(home: Path, *options: str) -> Iterator[Contender]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, home, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Contender(process)


@contextmanager
def holding(home: Path, *options: str) -> Iterator[Contender]:
    with contender(home, *options) as other:
        assert other.hears() == "ready"
        other.go()
        yield other


def test_preparing_makes_private_folders_with_their_parents(tmp_path: Path) -> None:
    home = tmp_path / "some" / "where" / "data"
    directory = DataDirectory(home)
    directory.prepare()
    directory.prepare()
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (home, directory.models, directory.logs)} == {
        0o700
    }
    assert directory.indexes.is_dir()
    assert directory.conversations_file.parent == home


def test_a_home_of_the_users_own_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    DataDirectory(tmp_path).prepare()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("below", [".", "data", "data/deeper"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    home = tmp_path / "file" / below
    with pytest.raises(DataDirectoryUnusable) as caught:
        DataDirectory(home).prepare()
    assert str(home) in str(caught.value)
    assert "CODING_ASSISTANT_HOME" in caught.value.hint
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_home_is_refused(tmp_path: Path) -> None:
    DataDirectory(tmp_path).prepare()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataDirectoryUnusable):
            DataDirectory(tmp_path).prepare()
    finally:
        tmp_path.chmod(0o700)


def test_asking_for_the_holder_makes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "absent"
    assert DataDirectory(home).holder() is None
    assert not home.exists()


def test_the_holder_is_known_while_it_holds(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    with directory.hold("ask"):
        assert directory.holder() == Holder(pid=os.getpid(), purpose="ask", url=None)
    assert directory.holder() is None


def test_the_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    with pytest.raises(KeyError), directory.hold("ask"):
        raise KeyError
    with directory.hold("ask"):
        pass


def test_a_second_holder_is_told_who_has_it_and_what_to_do(tmp_path: Path) -> None:
    with holding(tmp_path) as other:
        assert other.hears() == "held"
        assert DataDirectory(tmp_path).holder() == Holder(
            pid=other.process.pid, purpose="serve", url="http://127.0.0.1:8000"
        )
        with pytest.raises(DataDirectoryLocked) as caught, DataDirectory(tmp_path).hold("ask"):
            pass
        for part in ("serve", str(other.process.pid), "http://127.0.0.1:8000"):
            assert part in str(caught.value)
        assert f"kill {other.process.pid}" in caught.value.hint
        other.go()
        with DataDirectory(tmp_path).hold("ask", wait_seconds=10):
            pass


def test_a_killed_holder_leaves_the_lock_free_although_its_child_lives_on(tmp_path: Path) -> None:
    with holding(tmp_path, "with a child") as other:
        child = int(other.hears())
        try:
            assert other.hears() == "held"
            other.process.kill()
            other.process.wait()
            assert (tmp_path / "holder.json").exists()
            assert DataDirectory(tmp_path).holder() is None
            with DataDirectory(tmp_path).hold("ask"):
                holder = DataDirectory(tmp_path).holder()
                assert holder == Holder(pid=os.getpid(), purpose="ask", url=None)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("signature", ["{", '{"pid": [], "purpose": 1, "url": {}}'])
def test_a_holder_that_cannot_be_made_out_still_holds(tmp_path: Path, signature: str) -> None:
    directory = DataDirectory(tmp_path)
    with directory.hold("serve"):
        (tmp_path / "holder.json").write_text(signature)
        with pytest.raises(DataDirectoryLocked, match="another program"), directory.hold("ask"):
            pass


def test_of_four_that_start_at_once_exactly_one_wins(tmp_path: Path) -> None:
    with ExitStack() as stack:
        contenders = [stack.enter_context(contender(tmp_path / "home")) for _ in range(4)]
        for each in contenders:
            assert each.hears() == "ready"
        for each in contenders:
            each.go()
        assert sorted(each.hears() for each in contenders) == ["held"] + ["locked"] * 3


def test_being_asked_for_its_holder_does_not_keep_the_directory_from_anybody(tmp_path: Path) -> None:
    asking = DataDirectory(tmp_path)
    asking.prepare()
    with holding(tmp_path) as other:
        while (holder := asking.holder()) is None:
            assert other.process.poll() is None
        assert holder.pid == other.process.pid
        assert other.hears() == "held"
