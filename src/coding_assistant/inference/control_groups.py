"""The limits that Linux sets on this process through its control groups and their parents.

``root`` is where the kernel's ``proc`` and ``sys`` are found. Elsewhere than on Linux there are no limits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_NO_LIMIT: Final = 2**62
"""cgroup v1 writes "no limit" as the largest whole number of pages, which is somewhat below 2^63."""


def memory_left(root: Path = Path("/")) -> int | None:
    """Return how many bytes the groups let this process take still; None without a limit."""
    left = [_memory_left_in(each) for each in _group_folders(root, "memory")]
    return min((size for size in left if size is not None), default=None)


def processor_quota(root: Path = Path("/")) -> float | None:
    """Return how many processors' time the groups give this process; None without a limit."""
    quotas = [_processor_quota_of(each) for each in _group_folders(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


@dataclass(frozen=True, slots=True)
class _Group:
    """A group's folder; in version 2 of the hierarchy, or in a controller's own of version 1."""

    folder: Path
    version: int

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="ascii").strip()


def _group_folders(root: Path, controller: str) -> Iterator[_Group]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, version = root / "sys/fs/cgroup", 2
        elif controller in controllers.split(","):
            mount, version = root / "sys/fs/cgroup" / controller, 1
        else:
            continue
        # Inside a container the group's own folder may be mounted as the root, so the root counts too.
        folder = PurePosixPath(group.lstrip("/"))
        for each in (folder, *folder.parents):
            yield _Group(mount / each, version)


def _memory_left_in(group: _Group) -> int | None:
    """Return limit minus usage, with the file cache that the kernel can take back."""
    names = {
        2: ("memory.max", "memory.current", "inactive_file"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    limit_file, usage_file, cache_key = names[group.version]
    try:
        limit = group.read(limit_file)
        usage = int(group.read(usage_file))
        statistics = group.read("memory.stat").splitlines()
    except OSError:
        return None
    if limit == "max" or int(limit) >= _NO_LIMIT:
        return None
    cache = sum(int(line.split()[1]) for line in statistics if line.split()[0] == cache_key)
    return max(0, int(limit) - usage + cache)


def _processor_quota_of(group: _Group) -> float | None:
    """Return the quota as a part of its period; "max" and -1 say that there is none."""
    try:
        if group.version == 1:
            quota, period = group.read("cpu.cfs_quota_us"), group.read("cpu.cfs_period_us")
        else:
            quota, period = group.read("cpu.max").split()
    except OSError:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
