import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil
import pytest

from coding_assistant.domain import SourceFile, text_digest
from coding_assistant.project.chunk import chunk, chunk_by_lines
from coding_assistant.project.chunk_process import ChunkProcess

FIXTURES = Path(__file__).parents[2] / "fixtures" / "languages"
NESTED_BRACKETS = "(" * 100_000 + ")" * 100_000
TERNARIES = "x = " + "a if b else " * 80_000 + "c"
# It takes 0.1 GB and more to parse.
TOO_BIG_A_TREE = "x = [" + "1," * 500_000
ENOUGH_FOR_ORDINARY_FILES = 128 << 20

only_linux_limits_memory = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")


def source(text: str, *, name: str = "file.py", language: str = "python") -> SourceFile:
    return SourceFile(PurePosixPath(name), text, text_digest(text), language)


def files(count: int) -> Iterator[SourceFile]:
    for number in range(count):
        yield source(f"def f{number}():\n    return {number}\n", name=f"{number}.py")


@pytest.fixture
def process() -> Iterator[ChunkProcess]:
    with ChunkProcess() as process:
        yield process


def test_the_child_cuts_as_this_process_does(process: ChunkProcess) -> None:
    for path in sorted(FIXTURES.glob("*.[a-z]*")):
        file = source(path.read_text(), name=path.name)
        assert process.chunk(file) == chunk(file)
    assert process.failures == ()


def test_many_files_come_back_in_order(process: ChunkProcess) -> None:
    results = list(process.chunk_many(files(50)))
    assert [file.path for file, _ in results] == [file.path for file in files(50)]
    assert all(chunks == chunk(file) for file, chunks in results)


@pytest.mark.parametrize("text", [NESTED_BRACKETS, TERNARIES], ids=["brackets", "ternaries"])
@pytest.mark.parametrize("language", ["python", "javascript", "cpp"])
def test_a_file_made_to_crash_parsers_costs_at_most_its_own_chunks(
    process: ChunkProcess, text: str, language: str
) -> None:
    hostile = source(text, name="hostile", language=language)
    good = source("def f():\n    return 1\n")
    results = dict(process.chunk_many([good, hostile, good]))
    assert "".join(each.text for each in results[hostile]) == text
    assert results[good] == chunk(good)
    assert set(process.failures) <= {hostile.path}


def test_a_killed_child_costs_one_file(process: ChunkProcess) -> None:
    for number, (file, chunks) in enumerate(process.chunk_many(files(30))):
        assert chunks in (chunk(file), chunk_by_lines(file))
        if number == 10:
            assert process.process_id is not None
            os.kill(process.process_id, signal.SIGKILL)
    assert len(process.failures) <= 1
    assert process.chunk(source("def g():\n    pass\n"))[0].symbol == "g"


def test_a_child_that_hangs_is_killed_at_the_deadline() -> None:
    with ChunkProcess(deadline_seconds=3) as process:  # ample for the healthy file
        process.chunk(source("x = 1\n"))
        child = process.process_id
        assert child is not None
        os.kill(child, signal.SIGSTOP)
        file = source("def f():\n    pass\n", name="stuck.py")
        assert process.chunk(file) == chunk_by_lines(file)
        assert process.failures == (PurePosixPath("stuck.py"),)
        assert not psutil.pid_exists(child)


@only_linux_limits_memory
def test_a_row_of_hostile_files_spoils_their_own_chunks_only() -> None:
    hostile = [source(TOO_BIG_A_TREE, name=f"hostile{number}.py") for number in range(7)]
    good = list(files(10))
    with ChunkProcess(memory_bytes=ENOUGH_FOR_ORDINARY_FILES) as process:
        results = list(process.chunk_many([*hostile, *good]))
    assert [file for file, _ in results] == [*hostile, *good]
    assert [chunks for _, chunks in results[len(hostile) :]] == [chunk(file) for file in good]
    assert (process.failures, process.untried) == (tuple(file.path for file in hostile), ())


@only_linux_limits_memory
def test_a_child_that_never_gets_ready_costs_names_and_nothing_else() -> None:
    with ChunkProcess(memory_bytes=1 << 20) as process:
        results = list(process.chunk_many(files(20)))
    assert [chunks for _, chunks in results] == [chunk_by_lines(file) for file in files(20)]
    assert (process.failures, process.untried) == ((), tuple(file.path for file in files(20)))


@only_linux_limits_memory
def test_when_patience_is_at_its_end_the_rest_is_left_untried() -> None:
    hostile = source(TOO_BIG_A_TREE, name="hostile.py")
    with ChunkProcess(memory_bytes=ENOUGH_FOR_ORDINARY_FILES, patience_seconds=0) as process:
        results = list(process.chunk_many([source("def f():\n    pass\n"), hostile, *files(10)]))
    assert results[0][1][0].symbol == "f"
    assert [chunks for _, chunks in results[2:]] == [chunk_by_lines(file) for file in files(10)]
    assert (process.failures, process.untried) == ((hostile.path,), tuple(file.path for file in files(10)))


def test_a_system_that_knows_no_such_memory_limit_does_without() -> None:
    script = (
        "import sys\n"
        "from coding_assistant.project.chunk_process import main\n"
        "sys.platform = 'darwin'\n"
        "main(60.0, 1 << 20, 1000)\n"
    )
    request = b'["a.py", "python", "def f():\\n    pass\\n"]\n'
    child = subprocess.run([sys.executable, "-c", script], input=request, capture_output=True, check=True)
    assert child.stdout == b'ready\n[[1, 2, "function", "f", []]]\n'


def test_leaving_early_leaves_nothing_behind(process: ChunkProcess) -> None:
    results = process.chunk_many(files(20))
    next(results)
    results.close()
    file = source("def later():\n    pass\n", name="later.py")
    assert process.chunk(file) == chunk(file)
    assert process.failures == ()


def test_closing_ends_the_child_and_the_next_file_starts_another(process: ChunkProcess) -> None:
    process.chunk(source("x = 1\n"))
    child = process.process_id
    assert child is not None
    process.close()
    assert process.process_id is None
    assert not psutil.pid_exists(child)
    assert process.chunk(source("x = 1\n"))


def test_the_child_does_not_outlive_its_parent() -> None:
    script = (
        "from pathlib import PurePosixPath\n"
        "from coding_assistant.domain import SourceFile\n"
        "from coding_assistant.project.chunk_process import ChunkProcess\n"
        "process = ChunkProcess()\n"
        "process.chunk(SourceFile(PurePosixPath('a.py'), 'x = 1', '', 'python'))\n"
        "print(process.process_id, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_a_project_cannot_slip_its_own_modules_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the project')\n")
    monkeypatch.chdir(tmp_path)
    file = source("def f():\n    pass\n")
    with ChunkProcess() as process:
        assert process.chunk(file) == chunk(file)
        assert process.failures == ()
