from pathlib import Path

import pytest

from coding_assistant.inference.control_groups import processor_quota
from coding_assistant.inference.llama import default_threads


def declare(root: Path, line: str, files: dict[str, str]) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{line}\n")
    for name, value in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("line", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/gone", {}, None),
        ("3:cpu,cpuacct:/x", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:memory:/", {"cpu.max": "100000 100000"}, None),
    ],
)
def test_the_tightest_quota_of_processor_time_counts(
    tmp_path: Path, line: str, files: dict[str, str], quota: float | None
) -> None:
    declare(tmp_path, line, files)

    assert processor_quota(tmp_path) == quota


def test_elsewhere_there_is_no_quota(tmp_path: Path) -> None:
    assert processor_quota(tmp_path) is None


@pytest.mark.parametrize("quota", ["20000 100000", "199000 100000"])
def test_there_are_no_more_threads_than_the_quota_pays_for(tmp_path: Path, quota: str) -> None:
    declare(tmp_path, "0::/", {"cpu.max": quota})

    assert default_threads(tmp_path) == 1
