import os
import sys
from pathlib import Path

import psutil
import pytest

from coding_assistant.inference.native_build.steps import StepFailed, Steps

PYTHON = (sys.executable, "-c")


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "log", os.environ)


def test_its_lines_come_and_stay_in_the_log(steps: Steps) -> None:
    script = "import sys; print('first'); print('second', file=sys.stderr)"

    lines = [*steps.run([*PYTHON, script]), *steps.run([*PYTHON, "print('third')"])]

    assert sorted(lines[:2]) == ["first", "second"]
    assert lines[2:] == ["third"]
    log = steps.log.read_text()
    assert all(each in log for each in (script, "first\n", "second\n", "third\n"))


def test_variables_are_added_to_the_environment(steps: Steps) -> None:
    assert list(steps.run([*PYTHON, "import os; print(os.environ['GIVEN'])"], GIVEN="so")) == ["so"]


def test_it_does_not_run_in_the_users_folder(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")

    assert list(steps.run([*PYTHON, "import os; print(os.getcwd())"])) == [str(steps.log.parent)]


def test_it_steps_back_behind_other_work(steps: Steps) -> None:
    [niceness] = steps.run([*PYTHON, "import os; print(os.nice(0))"])

    assert int(niceness) == min(os.nice(0) + 10, 19)


def test_a_failure_brings_the_last_lines_along(steps: Steps) -> None:
    with pytest.raises(StepFailed) as failure:
        list(steps.run([*PYTHON, "print(*range(100), sep='\\n'); raise SystemExit(3)"]))

    assert failure.value.tail[-1] == "99"
    assert len(failure.value.tail) < 100


def test_closing_it_ends_the_command(steps: Steps) -> None:
    lines = steps.run([*PYTHON, "import os, signal; print(os.getpid(), flush=True); signal.pause()"])
    pid = int(next(lines))

    lines.close()

    assert not psutil.pid_exists(pid)
