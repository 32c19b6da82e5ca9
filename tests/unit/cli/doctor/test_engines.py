from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.cli.doctor import engines
from coding_assistant.cli.doctor.findings import Verdict
from coding_assistant.domain import ALL_LAYERS, AUTO_LAYERS, GpuLayers
from coding_assistant.errors import InvalidSetting, SystemLacks
from coding_assistant.inference.engine_programs import BUNDLED, NATIVE, Choice, EngineProgram
from coding_assistant.inference.gpu import Device
from coding_assistant.settings import Settings
from support import native_stand_in
from support.model_specs import PLAIN_SPEC

GPU = Device("CUDA0", 8_000_000_000, 6_000_000_000)
OLD_FLAGS = "fma f16c avx2"


def choice(
    kind: str = BUNDLED,
    *,
    features: Sequence[str] = ("AVX2", "FMA", "F16C"),
    warning: str = "",
    fault: str = "",
) -> Choice:
    file = None if kind == BUNDLED else Path("/engines/native/llama-server")
    program = EngineProgram(kind, file, "b11549", tuple(features), fault=fault)
    return Choice(program, "nothing was built here; do it", warning)


def with_gpus(*devices: Device) -> Choice:
    chosen = choice()
    return replace(chosen, program=replace(chosen.program, devices=devices))


def machine(folder: Path, flags: str) -> Path:
    (folder / "proc").mkdir(exist_ok=True)
    (folder / "proc/cpuinfo").write_text(f"model name : Some Processor 9\nflags : {flags}\n")
    return folder


def test_what_avx512_would_gain_is_said_with_where_it_was_measured(tmp_path: Path) -> None:
    finding = engines.engine(choice(), root=machine(tmp_path, f"{OLD_FLAGS} avx512f avx512_vnni"))

    assert finding.verdict is Verdict.TIP
    assert "leaves unused AVX512 AVX512_VNNI" in finding.detail
    assert "1.9 times" in finding.advice
    assert "measured on a machine with AVX-512" in finding.advice
    assert finding.facts["left_unused"] == ["AVX512", "AVX512_VNNI"]


def test_no_gain_is_promised_that_was_not_measured(tmp_path: Path) -> None:
    finding = engines.engine(choice(), root=machine(tmp_path, f"{OLD_FLAGS} avx_vnni"))

    assert finding.verdict is Verdict.TIP
    assert "1.9" not in finding.advice
    assert "engine build" in finding.advice


def test_an_engine_that_uses_all_there_is_needs_no_advice(tmp_path: Path) -> None:
    finding = engines.engine(choice(NATIVE), root=machine(tmp_path, OLD_FLAGS))

    assert finding.verdict is Verdict.OK
    assert finding.advice == ""
    assert finding.facts["kind"] == "native"


def test_an_engine_in_the_place_of_the_wanted_one_is_a_warning(tmp_path: Path) -> None:
    told = "The native engine is not used: It dies at once (signal 4). The bundled one runs instead."
    finding = engines.engine(choice(warning=told), root=machine(tmp_path, OLD_FLAGS))

    assert finding.verdict is Verdict.WARN
    assert told in finding.detail


def test_a_library_that_is_missing_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native_stand_in.put_in_place(native_stand_in.MISSING_LIBRARY, tmp_path, monkeypatch)
    finding = engines.engine(choice(fault="It ends with exit code 1."))

    assert finding.verdict is Verdict.FAIL
    assert "libgomp.so.1" in finding.detail
    assert "apt-get install libgomp1" in finding.advice


def graphics(
    chosen: Choice, layers: GpuLayers, folder: Path, *, main_gpu: int | None = None, require_gpu: bool = False
) -> tuple[Verdict, str, str]:
    settings = Settings(home=folder, main_gpu=main_gpu, require_gpu=require_gpu)
    finding = engines.graphics(chosen, replace(PLAIN_SPEC, n_gpu_layers=layers), settings, root=folder)
    return finding.verdict, finding.detail, finding.advice


@pytest.mark.parametrize("layers", [0, AUTO_LAYERS])
def test_a_machine_without_gpu_is_as_good(tmp_path: Path, layers: GpuLayers) -> None:
    assert graphics(choice(), layers, tmp_path)[0] is Verdict.OK


@pytest.mark.parametrize("layers", [20, ALL_LAYERS])
def test_layers_that_no_gpu_takes_are_a_warning(tmp_path: Path, layers: GpuLayers) -> None:
    verdict, detail, advice = graphics(choice(), layers, tmp_path)

    assert verdict is Verdict.WARN
    assert f"asks for {layers}" in detail
    assert "engine build --gpu" in advice


def test_a_gpu_that_lies_idle_is_a_tip(tmp_path: Path) -> None:
    verdict, detail, advice = graphics(with_gpus(GPU), 0, tmp_path)

    assert verdict is Verdict.TIP
    assert "CUDA0 (6.0 GB free of 8.0 GB)" in detail
    assert "n_gpu_layers" in advice


def test_a_gpu_in_use_is_named_and_the_proof_is_in_the_load(tmp_path: Path) -> None:
    verdict, detail, _ = graphics(with_gpus(GPU, replace(GPU, name="CUDA1")), 12, tmp_path, main_gpu=1)

    assert verdict is Verdict.OK
    assert "12 layers asked for, on CUDA1 alone" in detail
    assert "--full" in detail


def test_a_driver_without_an_engine_for_it_is_told_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()

    assert graphics(choice(), 0, tmp_path)[::2] == (Verdict.TIP, "`coding-assistant engine build --gpu cuda`")
    assert graphics(choice(), AUTO_LAYERS, tmp_path)[0] is Verdict.WARN


def test_what_a_load_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="main_gpu is 3"):
        graphics(with_gpus(GPU), AUTO_LAYERS, tmp_path, main_gpu=3)
    with pytest.raises(SystemLacks, match="A GPU is required"):
        graphics(choice(), AUTO_LAYERS, tmp_path, require_gpu=True)
