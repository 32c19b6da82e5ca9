from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.domain import MemoryPlan
from coding_assistant.errors import NotEnoughMemory
from coding_assistant.inference.gguf import read_header
from coding_assistant.inference.memory import available_bytes, plan_memory, require_fit
from support.small_gguf import write_gguf

MIB = 1024 * 1024
PLAN = MemoryPlan(weights=2_000 * MIB, kv_cache=4 * 1_024 * MIB, compute=100 * MIB, available=8_000 * MIB)
"""Four slots of 4,096 tokens: 256 KiB a token."""


def with_available(mebibytes: int) -> MemoryPlan:
    return replace(PLAN, available=mebibytes * MIB)


def test_every_slot_pays_for_its_own_context(tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "m.gguf"))

    one = plan_memory(header, context_tokens=1_000, slots=1, batch_tokens=128)
    four = plan_memory(header, context_tokens=1_000, slots=4, batch_tokens=128)

    assert one.kv_cache == 1_000 * header.kv_bytes_per_token
    assert four.kv_cache == 4 * one.kv_cache
    assert one.weights == four.weights == header.tensor_bytes
    assert one.compute == four.compute > 0


def test_larger_batches_take_more_to_compute(tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "m.gguf"))

    small, large = (
        plan_memory(header, context_tokens=1_000, slots=1, batch_tokens=tokens) for tokens in (128, 512)
    )

    assert small.compute < large.compute


def test_a_plan_that_fits_is_let_through() -> None:
    require_fit(PLAN, context_tokens=4_096, slots=4)


@pytest.mark.parametrize(
    ("available", "advice"),
    [
        (6_195, "3 of 4 slots"),
        (3_124, "1 of 4 slots"),
        (3_123, "a context of 3,840 tokens"),
        (2_356, "a context of 1,024 tokens"),
        (2_355, "smaller model"),
        (500, "smaller model"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(available: int, advice: str) -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        require_fit(with_available(available), context_tokens=4_096, slots=4)

    assert advice in caught.value.hint


def test_the_refusal_gives_the_numbers_in_units_for_people() -> None:
    with pytest.raises(NotEnoughMemory, match=r"needs 6\.5 GB of memory: 2\.1 GB .* 4\.3 GB .* 105 MB"):
        require_fit(with_available(500), context_tokens=4_096, slots=4)


def write_group(folder: Path, values: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, value in values.items():
        (folder / name).write_text(value)


def declare_group(root: Path, line: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{line}\n")


def test_a_version_2_group_limits_what_is_available(tmp_path: Path) -> None:
    declare_group(tmp_path, "0::/user/service")
    write_group(
        tmp_path / "sys/fs/cgroup/user/service",
        {
            "memory.max": f"{100 * MIB}\n",
            "memory.current": f"{70 * MIB}\n",
            "memory.stat": f"anon 1\ninactive_file {20 * MIB}\nactive_file 5\n",
        },
    )

    assert available_bytes(tmp_path) == 50 * MIB


def test_a_limit_of_a_parent_group_counts_too(tmp_path: Path) -> None:
    declare_group(tmp_path, "0::/user/service")
    limits = {"memory.current": "0\n", "memory.stat": "inactive_file 0\n"}
    write_group(tmp_path / "sys/fs/cgroup/user/service", {"memory.max": "max\n", **limits})
    (tmp_path / "sys/fs/cgroup/user/memory.max").write_text(f"{10 * MIB}\n")
    for name, value in limits.items():
        (tmp_path / "sys/fs/cgroup/user" / name).write_text(value)

    assert available_bytes(tmp_path) == 10 * MIB


def test_a_version_1_group_mounted_as_the_root_limits_too(tmp_path: Path) -> None:
    declare_group(tmp_path, "4:memory:/docker/0123456789ab")
    write_group(
        tmp_path / "sys/fs/cgroup/memory",
        {
            "memory.limit_in_bytes": f"{30 * MIB}\n",
            "memory.usage_in_bytes": f"{40 * MIB}\n",
            "memory.stat": f"total_inactive_file {5 * MIB}\n",
        },
    )

    assert available_bytes(tmp_path) == 0


def test_a_group_without_a_limit_leaves_the_machines_memory(tmp_path: Path) -> None:
    declare_group(tmp_path, "4:memory:/")
    no_limit = {"memory.limit_in_bytes": "9223372036854771712\n", "memory.usage_in_bytes": "1\n"}
    write_group(tmp_path / "sys/fs/cgroup/memory", {**no_limit, "memory.stat": "total_inactive_file 0\n"})

    assert available_bytes(tmp_path) > 100 * MIB


def test_without_control_groups_the_machine_decides(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) > 100 * MIB
