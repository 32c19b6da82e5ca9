from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.cli.doctor import machine
from coding_assistant.cli.doctor.findings import Verdict
from coding_assistant.domain import MemoryPlan
from coding_assistant.settings import Settings

GB = 1_000_000_000
PLAN = MemoryPlan(
    context_tokens=8_192,
    slots=1,
    weights=1 * GB,
    kv_cache=819_200_000,
    compute=100_000_000,
    available=0,
    kv_bytes_per_token=100_000,
)


def kernel(folder: Path, *, quota: str = "max 100000", memory_limit: str = "max") -> Path:
    """A root whose one control group has these limits, and none of its memory in use."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text("0::/\n")
    (folder / "proc/cpuinfo").write_text("model name : Some Processor 9\nflags : fma f16c avx2 avx512f\n")
    group = folder / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text(quota)
    (group / "memory.max").write_text(memory_limit)
    (group / "memory.current").write_text("0")
    (group / "memory.stat").write_text("inactive_file 0\n")
    return folder


def test_the_processor_is_named_with_what_engines_make_use_of(tmp_path: Path) -> None:
    finding = machine.processor(None, root=kernel(tmp_path))

    assert finding.detail.startswith("Some Processor 9, ")
    assert finding.detail.endswith("AVX2 FMA F16C AVX512")
    assert finding.facts["features"] == ["AVX2", "FMA", "F16C", "AVX512"]


def test_more_threads_than_cores_are_too_many(tmp_path: Path) -> None:
    finding = machine.processor(1_000, root=kernel(tmp_path))

    assert finding.verdict is Verdict.WARN
    assert "n_threads" in finding.advice


def test_a_quota_counts_as_fewer_cores(tmp_path: Path) -> None:
    finding = machine.processor(2, root=kernel(tmp_path, quota="150000 100000"))

    assert finding.verdict is Verdict.WARN
    assert "a quota of 1.5" in finding.detail
    assert "set it to 1" in finding.advice


def test_a_model_that_does_not_fit_keeps_answers_from_coming(tmp_path: Path) -> None:
    finding = machine.planned_memory(PLAN, is_held=False, root=kernel(tmp_path, memory_limit=str(GB)))

    assert finding.verdict is Verdict.FAIL
    assert "1.9 GB" in finding.detail
    assert finding.advice
    assert finding.facts["fits"] is False
    assert finding.facts["needed_bytes"] == PLAN.needed


def test_beside_a_server_that_may_hold_the_model_it_is_no_failure(tmp_path: Path) -> None:
    finding = machine.planned_memory(PLAN, is_held=True, root=kernel(tmp_path, memory_limit=str(GB)))

    assert finding.verdict is Verdict.WARN
    assert "running server" in finding.advice


def test_a_context_that_may_shrink_fits_and_that_is_said(tmp_path: Path) -> None:
    little = kernel(tmp_path, memory_limit="1800000000")
    finding = machine.planned_memory(replace(PLAN, shrinks=True), is_held=False, root=little)

    assert finding.verdict is Verdict.OK
    assert "8,192 were asked for" in finding.detail


@pytest.mark.parametrize(("limit", "verdict"), [(1_950_000_000, Verdict.WARN), (2_500_000_000, Verdict.OK)])
def test_a_narrow_fit_is_a_warning(tmp_path: Path, limit: int, verdict: Verdict) -> None:
    finding = machine.planned_memory(PLAN, is_held=False, root=kernel(tmp_path, memory_limit=str(limit)))

    assert finding.verdict is verdict
    assert "to spare" in finding.detail
    assert "a control group" in finding.detail


def test_without_a_model_little_memory_is_a_warning(tmp_path: Path) -> None:
    finding = machine.free_memory(root=kernel(tmp_path, memory_limit="500000000"))

    assert finding.verdict is Verdict.WARN
    assert finding.detail.startswith("500 MB available")


def test_the_disk_tells_what_is_taken(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, models_folder=tmp_path / "not/there/yet")
    (tmp_path / "indexes").mkdir()
    (tmp_path / "indexes/one.sqlite3").write_bytes(bytes(3_000_000))
    finding = machine.disk(settings)

    assert f"free at {tmp_path}" in finding.detail
    assert "indexes 3 MB" in finding.detail
    assert "models" not in finding.detail
    assert finding.facts["indexes_bytes"] == 3_000_000
