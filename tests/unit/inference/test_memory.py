from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coding_assistant.domain import Bound, MemoryPlan
from coding_assistant.errors import NotEnoughMemory
from coding_assistant.inference.cache_shape import CacheShape
from coding_assistant.inference.gguf import GgufHeader, read_header
from coding_assistant.inference.memory import (
    automatic_slots,
    available_bytes,
    plan_in_words,
    plan_memory,
    require_fit,
    settled,
)
from support.small_gguf import write_gguf

MIB = 1024 * 1024
GIB = 1024 * MIB
PLAN = MemoryPlan(
    context_tokens=4_096,
    slots=4,
    weights=2_000 * MIB,
    kv_cache=4 * 1_024 * MIB,
    compute=100 * MIB,
    available=8_000 * MIB,
    kv_bytes_per_token=4 * 256 * 1024,
)


def with_available(mebibytes: int) -> MemoryPlan:
    return replace(PLAN, available=mebibytes * MIB)


@pytest.fixture(name="header", scope="module")
def header_of_a_small_model(tmp_path_factory: pytest.TempPathFactory) -> GgufHeader:
    return read_header(write_gguf(tmp_path_factory.mktemp("model") / "m.gguf"))


def larger(header: GgufHeader, cache: CacheShape) -> GgufHeader:
    """A model of the size of Phi-3 Mini or so, with this cache."""
    return replace(header, cache=cache, tensor_bytes=2 * GIB, context_length=131_072)


shapes = st.builds(
    CacheShape,
    token_bytes=st.integers(0, 2**20),
    windowed_token_bytes=st.integers(0, 2**20),
    window_tokens=st.integers(0, 8_192),
    state_bytes=st.integers(0, 2**26),
)


def test_every_slot_pays_for_its_own_context(header: GgufHeader) -> None:
    one = plan_memory(header, context_tokens=1_000, slots=1, batch_tokens=128)
    four = plan_memory(header, context_tokens=1_000, slots=4, batch_tokens=128)

    assert one.kv_cache == 1_000 * header.kv_bytes_per_token
    assert four.kv_cache == 4 * one.kv_cache
    assert one.weights == four.weights


def test_rows_of_the_token_table_that_no_text_names_need_no_memory(header: GgufHeader) -> None:
    def weights(table_bytes: int) -> int:
        with_table = replace(header, tensor_bytes=GIB, token_table_bytes=table_bytes)
        return plan_memory(with_table, context_tokens=512, slots=1, batch_tokens=128).weights

    assert weights(0) == GIB
    assert GIB - 400 * MIB < weights(400 * MIB) < GIB


def test_no_context_is_longer_than_what_the_model_was_trained_for_and_the_plan_says_so(
    header: GgufHeader,
) -> None:
    plan = plan_memory(header, context_tokens=10 * header.context_length, slots=1, batch_tokens=128)

    assert plan.context_tokens == header.context_length
    assert "20,480 were asked for, the model was trained for no more" in plan_in_words(plan)


@given(
    cache=shapes,
    context=st.integers(512, 65_536),
    slots=st.integers(1, 16),
    batch=st.integers(64, 2_048),
    more=st.integers(1, 8_192),
)
def test_the_plan_grows_with_all_that_it_is_made_for(
    header: GgufHeader, cache: CacheShape, context: int, slots: int, batch: int, more: int
) -> None:
    def needed(context: int, slots: int, batch: int) -> int:
        return plan_memory(
            larger(header, cache), context_tokens=context, slots=slots, batch_tokens=batch, available=0
        ).needed

    least = needed(context, slots, batch)

    assert least <= needed(context + more, slots, batch)
    assert least <= needed(context, slots + more, batch)
    assert least < needed(context, slots, batch + more)


def plans(header: GgufHeader, cache: CacheShape, available: int) -> Callable[[int, int], MemoryPlan]:
    def plan(context: int, slots: int) -> MemoryPlan:
        return plan_memory(
            larger(header, cache),
            context_tokens=context,
            slots=slots,
            batch_tokens=128,
            available=available,
        )

    return plan


@given(
    cache=shapes,
    context=st.integers(1_024, 65_536),
    slots=st.integers(1, 16),
    available=st.integers(GIB, 64 * GIB),
)
def test_what_is_suggested_as_fitting_does_fit(
    header: GgufHeader, cache: CacheShape, context: int, slots: int, available: int
) -> None:
    plan = plans(header, cache, available)
    assume(not plan(context, slots).fits)

    with pytest.raises(NotEnoughMemory) as caught:
        require_fit(plan(context, slots))

    words = caught.value.hint.replace(",", "").split()
    if "context_tokens" in caught.value.hint:
        suggested = plan(int(words[words.index("tokens:") - 1]), 1)
    elif "slots:" in words:
        suggested = plan(context, int(words[4]))
    else:
        assert not plan(1_024 + 256, 1).fits or not cache.token_bytes or cache.windowed_token_bytes
        return
    assert suggested.fits


@given(
    cache=shapes,
    context=st.integers(1_024, 65_536),
    slots=st.integers(1, 4),
    available=st.integers(GIB, 64 * GIB),
)
def test_a_context_that_is_made_shorter_fits_with_a_margin(
    header: GgufHeader, cache: CacheShape, context: int, slots: int, available: int
) -> None:
    plan = plans(header, cache, available)
    wanted = plan(context, slots)
    try:
        reduced = settled(replace(wanted, shrinks=True))
    except NotEnoughMemory:
        assert not wanted.fits
        return

    assert reduced.context_tokens <= context
    assert (reduced.context_tokens < context) == bool(reduced.reduction)
    if reduced.context_tokens < context:
        assert plan(reduced.context_tokens, slots).needed <= reduced.needed <= 0.9 * available
        assert reduced.context_tokens >= 1_024


@given(cache=shapes, available=st.integers(GIB, 64 * GIB))
def test_automatic_slots_are_as_many_as_fit_with_a_margin(
    header: GgufHeader, cache: CacheShape, available: int
) -> None:
    model = larger(header, cache)
    slots = automatic_slots(model, context_tokens=8_192, batch_tokens=128, available=available)
    plan = plans(header, cache, available)

    assert 1 <= slots <= 4
    assert slots == 1 or plan(8_192, slots).needed <= 0.9 * available
    assert slots == 4 or plan(8_192, slots + 1).needed > 0.9 * available * 0.999


def test_a_context_goes_down_by_eighths_so_that_it_is_mostly_the_same_again() -> None:
    def reduced(mebibytes: int) -> int:
        return settled(replace(with_available(mebibytes), shrinks=True)).context_tokens

    assert reduced(7_000) == reduced(6_900) == 4_096
    assert reduced(6_400) == reduced(6_350) == 3_584
    assert reduced(4_500) == 1_536
    assert settled(with_available(6_200)).context_tokens == 4_096, "only where it is allowed"


def test_a_plan_that_fits_is_let_through() -> None:
    require_fit(PLAN)


@pytest.mark.parametrize(
    ("available", "advice"),
    [
        (6_195, "3 of 4 slots"),
        (3_124, "1 of 4 slots"),
        (3_123, "one slot and a context of 3,840 tokens"),
        (2_356, "one slot and a context of 1,024 tokens"),
        (2_355, "smaller model"),
        (500, "smaller model"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(available: int, advice: str) -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        require_fit(with_available(available))

    assert advice in caught.value.hint


def test_the_refusal_gives_the_numbers_in_units_for_people() -> None:
    with pytest.raises(NotEnoughMemory, match=r"needs 6\.5 GB of memory: 2\.1 GB .* 4\.3 GB .* 105 MB"):
        require_fit(with_available(500))


def test_the_line_of_a_load_says_all_of_the_plan() -> None:
    assert plan_in_words(PLAN) == (
        "2.1 GB weights + 4.3 GB context (4 slots of 4,096 tokens) + 105 MB computing"
        " = 6.5 GB of 8.4 GB available"
    )
    assert "= at least 6.5 GB" in plan_in_words(replace(PLAN, bound=Bound.AT_LEAST))
    assert "(4,096 tokens)" in plan_in_words(replace(PLAN, slots=1))


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
