"""A ``llama-server`` binary as the engine: kept as the bundled one is, and replaced when it does not work.

The binary is a stand-in made of the bundled library, so that it can have GPUs and faults that are not here.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from subprocess import PIPE

import anyio
import httpx2
import psutil
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from coding_assistant.domain import EngineInfo, GenerationEnded, GenerationRequest, GpuLayers
from coding_assistant.errors import EngineDied, InvalidSetting, ModelBroken, NotEnoughMemory, SystemLacks
from coding_assistant.inference.engine_programs import NAMED, EngineProgram, ProgramSearch
from coding_assistant.inference.llama import LlamaEngine
from coding_assistant.inference.server_process import ServerProcess
from coding_assistant.inference.server_protocol import ServerSettings
from coding_assistant.inference.starting import GpuOptions
from support import engine_owner
from support.llama_engines import llama_engine
from support.processes import is_gone, until
from support.stand_in_llama_server import Behaviour, install

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="the guardian of a binary is POSIX's"),
]

CARD = "  CUDA0: NVIDIA of the tests (8192 MiB, 8000 MiB free)"
TWO_CARDS = f"{CARD}\n  CUDA1: NVIDIA of the tests (8192 MiB, 8000 MiB free)"
ALL_LAYERS = "offloaded 2/2 layers to GPU"

MakeEngine = Callable[..., LlamaEngine]


@pytest.fixture
async def make_engine(tiny_file: Path, tmp_path: Path) -> AsyncIterator[MakeEngine]:
    """Return what makes an engine with a binary that behaves so; it is closed after the test."""
    made: list[LlamaEngine] = []

    def make(behaviour: Behaviour | None = None, gpu: GpuOptions | None = None) -> LlamaEngine:
        program = install(tmp_path / "opt", behaviour)
        made.append(
            llama_engine(
                tiny_file,
                prompt_format="llama2",
                log_file=tmp_path / "engine.log",
                programs=ProgramSearch(str(program)),
                gpu=gpu,
            )
        )
        return made[-1]

    yield make
    for engine in made:
        await engine.close()


def settings(file: Path) -> ServerSettings:
    return ServerSettings(str(file), slots=1, context_tokens=256, batch_tokens=64, threads=1, gpu_layers=0)


def process_of(engine: LlamaEngine) -> psutil.Process:
    assert engine.process_id is not None
    return psutil.Process(engine.process_id)


async def answer(engine: LlamaEngine) -> GenerationEnded:
    request = GenerationRequest((5,) * 20, 0, 16, temperature=0.0, top_p=1.0)
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, GenerationEnded):
                return event
    raise AssertionError("an answer has to end")


async def test_the_binary_runs_the_model_and_says_which_it_is(make_engine: MakeEngine) -> None:
    engine = make_engine()
    info = await engine.load()

    assert (info.program, info.program_version, info.notice) == (NAMED, "b777 (abc1234)", "")
    assert (info.offloaded_layers, info.layers) == (0, 2)
    assert (await answer(engine)).written_tokens >= 1


async def test_the_process_that_is_measured_is_the_one_that_holds_the_model(make_engine: MakeEngine) -> None:
    engine = make_engine()
    await engine.load()

    assert "--model" in process_of(engine).cmdline()


async def test_only_who_knows_the_key_is_answered_and_nobody_else_can_read_it(
    tiny_file: Path, tmp_path: Path
) -> None:
    program = EngineProgram(NAMED, install(tmp_path), "b777")
    server = await ServerProcess.start(settings(tiny_file), program=program)
    try:
        binary = psutil.Process(server.pid)
        for shown in (binary, *binary.parents()[:1]):
            assert server.api_key not in " ".join([*shown.cmdline(), *shown.environ().values()])
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as stranger:
            refused = await stranger.post("/tokenize", json={"content": "x"})
            known = await stranger.post(
                "/tokenize", json={"content": "x"}, headers={"Authorization": f"Bearer {server.api_key}"}
            )
        assert (refused.status_code, known.status_code) == (401, 200)
        assert httpx2.URL(server.url).host == "127.0.0.1"
    finally:
        await server.stop()


async def test_it_looks_for_nothing_in_the_working_directory(
    make_engine: MakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = make_engine()
    await engine.load()

    assert process_of(engine).cwd() == str(tmp_path / "opt")


async def test_ctrl_c_in_the_terminal_does_not_reach_it(make_engine: MakeEngine) -> None:
    engine = make_engine()
    await engine.load()

    assert os.getpgid(process_of(engine).pid) != os.getpgid(0)


async def test_closing_ends_the_binary_with_its_guardian(make_engine: MakeEngine) -> None:
    engine = make_engine()
    await engine.load()
    binary = process_of(engine)
    guardian = binary.parent()
    assert guardian is not None
    await engine.close()

    assert is_gone(binary.pid)
    assert is_gone(guardian.pid)


def wrapped(program: Path) -> Path:
    """Return a script without ``exec``, as found on many machines: the server is its child."""
    wrapper = program.parent / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n"{program}" "$@"\nexit $?\n', encoding="utf-8")
    wrapper.chmod(0o755)
    return wrapper


async def test_what_a_wrapper_script_started_ends_with_it(tiny_file: Path, tmp_path: Path) -> None:
    program = EngineProgram(NAMED, wrapped(install(tmp_path / "opt")), "b777")
    server = await ServerProcess.start(settings(tiny_file), program=program)
    started = psutil.Process(server.pid).children()
    await server.stop()

    assert len(started) == 1
    assert is_gone(started[0].pid)


@pytest.mark.parametrize("name", ["listening on http://127.0.0.1:9", ALL_LAYERS])
async def test_what_the_models_file_says_in_the_log_is_not_taken_for_the_servers_words(
    name: str, make_engine: MakeEngine
) -> None:
    spoof = Behaviour(devices=CARD, layers_log=f"general.name = {name}")
    info = await make_engine(spoof, GpuOptions("all")).load()

    assert (info.program, info.offloaded_layers) == (NAMED, 0)


async def test_a_port_that_was_taken_meanwhile_is_replaced_by_another(make_engine: MakeEngine) -> None:
    info = await make_engine(Behaviour(loses_first_port=True)).load()

    assert (info.program, info.notice) == (NAMED, "")


async def test_the_death_of_the_binary_is_explained_and_the_next_question_answered(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    await engine.load()
    os.kill(process_of(engine).pid, signal.SIGSTOP)
    failed: list[str] = []

    async def ask() -> None:
        with pytest.raises(EngineDied) as died:
            await answer(engine)
        failed.append(died.value.message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        os.kill(process_of(engine).pid, signal.SIGKILL)

    assert "killed" in failed[0]
    assert (await answer(engine)).written_tokens >= 1


async def test_a_guardian_that_is_killed_takes_the_binary_along(make_engine: MakeEngine) -> None:
    engine = make_engine()
    await engine.load()
    binary = process_of(engine)
    guardian = binary.parent()
    assert guardian is not None
    guardian.kill()

    await until(lambda: is_gone(binary.pid))


async def test_a_guardian_that_is_killed_takes_along_what_a_wrapper_script_started(
    tiny_file: Path, tmp_path: Path
) -> None:
    program = EngineProgram(NAMED, wrapped(install(tmp_path / "opt")), "b777")
    server = await ServerProcess.start(settings(tiny_file), program=program)
    wrapper = psutil.Process(server.pid)
    guardian, [binary] = wrapper.parent(), wrapper.children()
    assert guardian is not None
    guardian.kill()

    await until(lambda: is_gone(binary.pid))
    await server.stop()


# Its guardian, the leader of the group, the binary, and the script that has started it.
@pytest.mark.parametrize(("make", "processes"), [(Path, 3), (wrapped, 4)])
async def test_the_binary_ends_when_the_service_is_killed(
    make: Callable[[Path], Path], processes: int, tiny_file: Path, tmp_path: Path
) -> None:
    program = install(tmp_path / "opt")
    command = [sys.executable, engine_owner.__file__, str(tiny_file), str(make(program))]
    async with await anyio.open_process(command, stdout=PIPE) as service:
        assert service.stdout is not None
        await BufferedByteReceiveStream(service.stdout).receive_until(b"loaded", 100)
        started = psutil.Process(service.pid).children(recursive=True)
        service.kill()

    assert len(started) == processes
    await until(lambda: all(is_gone(each.pid) for each in started))


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (Behaviour(unknown_option="--fit"), "does not know the option --fit"),
        (Behaviour(unknown_option="--no-kv-unified"), "does not know the option --no-kv-unified"),
        (Behaviour(signal_at_start=signal.SIGILL), "dies at once (signal 4)"),
        (Behaviour(signal_at_load=signal.SIGILL), "more instructions than this one has"),
        (Behaviour(signal_at_load=signal.SIGSEGV), "SIGSEGV"),
        (Behaviour(load_error="unknown model architecture: 'next'"), "unknown model architecture"),
        (Behaviour(ignores_key=True), "would answer anybody on this machine"),
        (Behaviour(version="what?"), "does not tell which llama.cpp it is"),
    ],
)
async def test_a_binary_that_fails_is_replaced_by_the_bundled_engine_and_the_user_told(
    behaviour: Behaviour, says: str, make_engine: MakeEngine
) -> None:
    engine = make_engine(behaviour)
    info = await engine.load()

    assert info.program == "bundled"
    assert says in info.notice
    assert "bundled" in info.notice
    assert (await answer(engine)).written_tokens >= 1


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"blk.0.attn_q", b"blk.0.attn_x"))


async def test_a_model_that_is_broken_is_so_for_the_bundled_engine_too(
    make_engine: MakeEngine, tiny_file: Path
) -> None:
    engine = make_engine()
    damage(tiny_file)

    with pytest.raises(ModelBroken, match="cannot load the model"):
        await engine.load()


async def test_an_engine_that_was_closed_tries_the_binary_again(make_engine: MakeEngine) -> None:
    engine = make_engine(Behaviour(signal_at_load=signal.SIGSEGV))
    assert (await engine.load()).program == "bundled"
    make_engine()  # repaired
    await engine.close()

    assert (await engine.load()).program == NAMED


async def test_of_a_binarys_log_only_warnings_and_errors_are_kept(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    await make_engine(Behaviour(load_error="no such luck")).load()
    log = (tmp_path / "engine.log").read_text(encoding="utf-8")

    assert "no such luck" in log
    assert "system_info" not in log


async def loaded(make_engine: MakeEngine, behaviour: Behaviour, layers: GpuLayers) -> EngineInfo:
    return await make_engine(behaviour, GpuOptions(layers)).load()


async def test_the_layers_that_the_engine_reports_are_told(make_engine: MakeEngine) -> None:
    info = await loaded(make_engine, Behaviour(devices=CARD, layers_log=ALL_LAYERS), "all")

    assert (info.offloaded_layers, info.layers, info.notice) == (2, 2, "")


async def test_fewer_layers_than_asked_for_are_told(make_engine: MakeEngine) -> None:
    info = await loaded(make_engine, Behaviour(devices=CARD, layers_log="offloaded 1/2 layers to GPU"), "all")

    assert (info.offloaded_layers, info.layers) == (1, 2)
    assert "1 of 2 layers are on a GPU" in info.notice


@pytest.mark.parametrize("layers", [2, "all"])
async def test_layers_without_a_gpu_are_never_left_out_in_silence(
    layers: GpuLayers, make_engine: MakeEngine
) -> None:
    info = await loaded(make_engine, Behaviour(), layers)

    assert info.offloaded_layers == 0
    assert f"asks for {layers}, but the engine" in info.notice
    assert "sees no GPU" in info.notice


async def test_automatic_layers_need_no_gpu(make_engine: MakeEngine) -> None:
    info = await loaded(make_engine, Behaviour(), "auto")

    assert (info.offloaded_layers, info.notice) == (0, "")


async def test_the_binary_is_told_the_layers_and_the_gpu(make_engine: MakeEngine) -> None:
    engine = make_engine(Behaviour(devices=TWO_CARDS, layers_log=ALL_LAYERS), GpuOptions("auto", main_gpu=1))
    await engine.load()
    words = process_of(engine).cmdline()

    told = {name: words[words.index(name) + 1] for name in ("--n-gpu-layers", "--split-mode", "--main-gpu")}
    assert told == {"--n-gpu-layers": "2", "--split-mode": "none", "--main-gpu": "1"}


async def test_without_layers_on_it_a_gpu_is_left_alone(make_engine: MakeEngine) -> None:
    engine = make_engine(Behaviour(devices=TWO_CARDS, most_layers=0), GpuOptions("auto", main_gpu=1))
    await engine.load()
    words = process_of(engine).cmdline()

    assert words[words.index("--device") + 1] == "none"
    assert "--main-gpu" not in words


async def test_a_gpu_that_is_not_there_is_refused(make_engine: MakeEngine) -> None:
    with pytest.raises(InvalidSetting, match=r"main_gpu is 5.*0 \(CUDA0\)"):
        await make_engine(Behaviour(devices=CARD), GpuOptions("all", main_gpu=5)).load()


@pytest.mark.parametrize(
    ("behaviour", "layers", "says"),
    [
        (Behaviour(), "auto", "sees none"),
        (Behaviour(devices=CARD), "all", "only 0 of the model's 2 layers"),
        (Behaviour(devices=CARD, layers_log="offloaded 1/2 layers to GPU"), 2, "only 1 of"),
    ],
)
async def test_a_required_gpu_that_is_not_used_is_refused_and_no_process_left(
    behaviour: Behaviour, layers: GpuLayers, says: str, make_engine: MakeEngine
) -> None:
    before = psutil.Process().children(recursive=True)
    engine = make_engine(behaviour, GpuOptions(layers, is_required=True))
    with pytest.raises(SystemLacks, match=says):
        await engine.load()

    assert set(psutil.Process().children(recursive=True)) <= set(before)


@pytest.mark.parametrize(
    ("most", "says"),
    [(1, "More layers seemed to fit into the free memory of CUDA0"), (0, "Not one layer fits")],
)
async def test_automatic_layers_become_fewer_where_the_gpu_gives_less_than_it_says(
    most: int, says: str, make_engine: MakeEngine
) -> None:
    log = f"offloaded {most}/2 layers to GPU" if most else ""
    info = await loaded(make_engine, Behaviour(devices=CARD, layers_log=log, most_layers=most), "auto")

    assert (info.program, info.offloaded_layers) == (NAMED, most)
    assert says in info.notice


async def test_layers_asked_for_that_do_not_fit_are_refused_with_the_setting_that_asks(
    make_engine: MakeEngine,
) -> None:
    with pytest.raises(NotEnoughMemory) as refused:
        await loaded(make_engine, Behaviour(devices=CARD, most_layers=1), "all")

    assert "n_gpu_layers = all" in refused.value.message
    assert "n_gpu_layers to auto" in refused.value.hint


async def test_a_required_gpu_that_is_used_is_enough(make_engine: MakeEngine) -> None:
    behaviour = Behaviour(devices=CARD, layers_log=ALL_LAYERS)
    info = await make_engine(behaviour, GpuOptions("all", is_required=True)).load()

    assert info.offloaded_layers == 2


async def test_the_bundled_engine_without_a_gpu_says_so_too(tiny_file: Path) -> None:
    engine = llama_engine(tiny_file, prompt_format="llama2", gpu=GpuOptions("all"))
    try:
        assert "the bundled engine sees no GPU" in (await engine.load()).notice
    finally:
        await engine.close()
