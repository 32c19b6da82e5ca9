import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from coding_assistant.domain import ALL_LAYERS, AUTO_LAYERS, GpuLayers, MemoryPlan
from coding_assistant.errors import InvalidSetting, SystemLacks
from coding_assistant.inference import gpu
from coding_assistant.inference.gguf import GgufHeader
from coding_assistant.inference.gpu import Device, Offload
from support.headers import header

GIBIBYTE = 2**30
BATCH = 128

LLAMA_8B = header(
    layers=32, embedding_length=4_096, vocabulary_size=128_256, parameters=8_030_000_000,
    tensor_bytes=4_920_000_000,
)  # fmt: skip
PLAN = MemoryPlan(
    context_tokens=8_192, slots=1, weights=4_600_000_000, kv_cache=GIBIBYTE, compute=200_000_000,
    available=16 * GIBIBYTE,
)  # fmt: skip
CARD = Device("CUDA0", 24 * GIBIBYTE, 20 * GIBIBYTE)
CHIP = Device("MTL0", 24 * GIBIBYTE, 20 * GIBIBYTE)

SIZES = st.integers(min_value=0, max_value=64 * GIBIBYTE)


def fitting(free_bytes: int, of: GgufHeader = LLAMA_8B, plan: MemoryPlan = PLAN) -> int:
    return gpu.layers_that_fit(of, plan, free_bytes=free_bytes, batch_tokens=BATCH)


@given(
    free_bytes=SIZES,
    of=st.builds(
        header,
        layers=st.integers(1, 128),
        embedding_length=st.integers(64, 16_384),
        vocabulary_size=st.integers(256, 262_144),
        parameters=st.integers(1_000_000, 10**11),
        tensor_bytes=st.integers(1_000_000, 10**11),
    ),
    kv_cache=SIZES,
)
def test_what_fits_leaves_the_margin_and_one_more_layer_would_not(
    free_bytes: int, of: GgufHeader, kv_cache: int
) -> None:
    plan = MemoryPlan(
        context_tokens=1, slots=1, weights=of.tensor_bytes, kv_cache=kv_cache, compute=10**8, available=0
    )
    layers = fitting(free_bytes, of, plan)
    usable = free_bytes * (1 - gpu.MARGIN)

    assert 0 <= layers <= gpu.layers_of(of)
    assert gpu.bytes_on_device(of, plan, layers, BATCH) <= usable
    if layers < gpu.layers_of(of):
        assert gpu.bytes_on_device(of, plan, layers + 1, BATCH) > usable


@given(free_bytes=SIZES, more=SIZES)
def test_more_memory_never_takes_fewer_layers(free_bytes: int, more: int) -> None:
    assert fitting(free_bytes) <= fitting(free_bytes + more)


def test_a_card_that_holds_the_whole_model_gets_its_output_too() -> None:
    assert fitting(20 * GIBIBYTE) == 33
    assert 10 < fitting(4 * GIBIBYTE) < 32
    assert fitting(0) == 0


@pytest.mark.parametrize(
    ("wanted", "devices", "layers"),
    [
        (0, [CARD], 0),
        (5, [CARD], 5),
        (500, [CARD], 33),
        (ALL_LAYERS, [CARD], 33),
        (ALL_LAYERS, [], 33),
        (AUTO_LAYERS, [CARD], 33),
        (AUTO_LAYERS, [], 0),
        (AUTO_LAYERS, [Device("CUDA0", GIBIBYTE, GIBIBYTE // 4)], 0),
    ],
)
def test_the_engine_is_told_a_number_of_layers(wanted: GpuLayers, devices: list[Device], layers: int) -> None:
    told = gpu.requested_layers(wanted, header=LLAMA_8B, plan=PLAN, devices=devices, batch_tokens=BATCH)

    assert told == layers


def test_two_cards_hold_more_than_one() -> None:
    small = Device("CUDA0", 4 * GIBIBYTE, 3 * GIBIBYTE)
    one, two = [
        gpu.requested_layers(AUTO_LAYERS, header=LLAMA_8B, plan=PLAN, devices=cards, batch_tokens=BATCH)
        for cards in ([small], [small, small])
    ]

    assert one < two


def test_the_chosen_gpu_is_the_only_one_and_must_be_there() -> None:
    cards = (CARD, Device("CUDA1", GIBIBYTE, GIBIBYTE))

    assert gpu.used_devices(cards, None) == cards
    assert gpu.used_devices(cards, 1) == cards[1:]
    with pytest.raises(InvalidSetting, match=r"main_gpu is 2.*0 \(CUDA0\), 1 \(CUDA1\)"):
        gpu.used_devices(cards, 2)


def test_without_any_gpu_the_choice_of_one_is_harmless() -> None:
    assert gpu.used_devices((), 1) == ()


def test_what_is_on_a_card_is_no_load_on_the_memory() -> None:
    assert gpu.left_in_memory(PLAN, LLAMA_8B, 33, [CARD]).needed == PLAN.compute
    assert gpu.left_in_memory(PLAN, LLAMA_8B, 0, [CARD]) == PLAN
    assert PLAN.compute < gpu.left_in_memory(PLAN, LLAMA_8B, 16, [CARD]).needed < PLAN.needed


@pytest.mark.parametrize("devices", [[], [CHIP]], ids=["no GPU", "a GPU that shares the memory"])
def test_elsewhere_the_memory_holds_all_of_it(devices: list[Device]) -> None:
    assert gpu.left_in_memory(PLAN, LLAMA_8B, 33, devices) == PLAN


def test_a_real_list_of_devices_is_read() -> None:
    listed = (
        "ggml_cuda_init: found 1 CUDA devices:\n"
        "Available devices:\n"
        "  CUDA0: NVIDIA GeForce RTX 4090 (24564 MiB, 24111 MiB free)\n"
        "  Vulkan1: Intel(R) Graphics (RPL-S) (15826 MiB, 14000 MiB free)\n"
        "  BLAS: OpenBLAS (0 MiB, 0 MiB free)\n"
    )

    assert gpu.parse_devices(listed) == (
        Device("CUDA0", 24_564 * 2**20, 24_111 * 2**20),
        Device("Vulkan1", 15_826 * 2**20, 14_000 * 2**20),
    )
    assert gpu.parse_devices("Available devices:\n  (none)\n") == ()


def test_the_log_tells_what_was_put_on_a_gpu() -> None:
    said = "load_tensors: offloaded 29/33 layers to GPU\n"
    for prefix in ("", "I ", "0.00.013.802 I "):
        assert gpu.parse_offload(prefix + said) == Offload(29, 33)
    assert gpu.parse_offload("I load_tensors: offloading 28 repeating layers to GPU") is None


@pytest.mark.parametrize(
    ("wanted", "offloaded", "devices", "says"),
    [
        (ALL_LAYERS, 33, [CARD], ""),
        (AUTO_LAYERS, 20, [CARD], ""),
        (AUTO_LAYERS, 0, [], ""),
        (10, 10, [CARD], ""),
        (500, 33, [CARD], ""),
        (0, 0, [CARD], ""),
        (AUTO_LAYERS, 0, [CARD], "Not one layer fits into the free memory of CUDA0"),
        (ALL_LAYERS, 0, [], "n_gpu_layers asks for all, but the bundled engine sees no GPU"),
        (10, 4, [CARD], "asks for 10: 4 of 33 layers"),
        (ALL_LAYERS, 0, [CARD], "asks for all: 0 of 33 layers"),
    ],
)
def test_less_on_a_gpu_than_was_asked_for_is_said(
    wanted: GpuLayers, offloaded: int, devices: list[Device], says: str
) -> None:
    notice = gpu.offload_notice(wanted, Offload(offloaded, 33), devices, program="the bundled engine")

    assert says in notice
    assert bool(says) == bool(notice)


@pytest.mark.parametrize(("wanted", "offloaded"), [(ALL_LAYERS, 32), (AUTO_LAYERS, 0), (10, 9)])
def test_where_a_gpu_is_required_less_than_was_asked_for_is_refused(
    wanted: GpuLayers, offloaded: int
) -> None:
    with pytest.raises(SystemLacks, match=rf"only {offloaded} of the model's 33 layers.*{wanted}"):
        gpu.require_offload(wanted, Offload(offloaded, 33))


@pytest.mark.parametrize(("wanted", "offloaded"), [(ALL_LAYERS, 33), (AUTO_LAYERS, 1), (10, 10), (99, 33)])
def test_where_a_gpu_is_required_what_was_asked_for_is_enough(wanted: GpuLayers, offloaded: int) -> None:
    gpu.require_offload(wanted, Offload(offloaded, 33))


def test_a_gpu_that_is_required_and_not_there_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(SystemLacks, match="the bundled engine sees none") as refused:
        gpu.require_devices(AUTO_LAYERS, (), program="the bundled engine")
    assert "engine show" in refused.value.hint
    with pytest.raises(InvalidSetting, match="n_gpu_layers is 0"):
        gpu.require_devices(0, (CARD,), program="the bundled engine")


@pytest.mark.parametrize(
    ("written", "read"), [(-1, "all"), ("-1", "all"), ("all", "all"), ("auto", "auto"), (7, 7), ("7", 7)]
)
def test_the_number_of_layers_is_written_in_several_ways(written: object, read: GpuLayers) -> None:
    assert TypeAdapter[GpuLayers](gpu.LayersSetting).validate_python(written) == read


@pytest.mark.parametrize("written", [-2, "some", 2_000, 1.5, ""])
def test_anything_else_is_no_number_of_layers(written: object) -> None:
    with pytest.raises(ValidationError, match="a number from 0 to 1,024, auto or all"):
        TypeAdapter[GpuLayers](gpu.LayersSetting).validate_python(written)
