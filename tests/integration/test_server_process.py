"""The engine's process: what it shows, what its death means, and that nothing of it is left behind."""

import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE

import anyio
import httpx2
import psutil
import pytest
from anyio.lowlevel import checkpoint
from anyio.streams.buffered import BufferedByteReceiveStream

from coding_assistant.domain import GenerationEnded, GenerationRequest, PromptRead, TextPiece
from coding_assistant.errors import (
    CodingAssistantError,
    DataDirectoryUnusable,
    EngineDied,
    EngineFailed,
    EngineUnavailable,
    InvalidModel,
    ModelBroken,
    NotEnoughMemory,
    SystemLacks,
)
from coding_assistant.inference.gpu import Offload
from coding_assistant.inference.llama import MOST_DEATHS, LlamaEngine
from coding_assistant.inference.server_process import EngineLog, ServerProcess
from coding_assistant.inference.server_protocol import ServerSettings
from support import engine_owner, native_stand_in
from support.llama_engines import llama_engine
from support.processes import is_gone, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(tiny_file: Path) -> AsyncIterator[LlamaEngine]:
    made = llama_engine(tiny_file, prompt_format="llama2")
    yield made
    await made.close()


@pytest.fixture
async def slow_engine(smollm2: Path) -> AsyncIterator[LlamaEngine]:
    """An engine that needs seconds for a long prompt."""
    made = llama_engine(smollm2)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    before = set(children())
    yield
    assert set(children()) <= before


def children(pid: int | None = None) -> list[int]:
    """The engine processes of this process, or of another one."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):  # ended in this moment
            if any("llama_server" in argument for argument in child.cmdline()):
                found.append(child.pid)
    return found


def settings(file: Path) -> ServerSettings:
    return ServerSettings(str(file), slots=1, context_tokens=256, batch_tokens=64, threads=1, gpu_layers=0)


def process_of(engine: LlamaEngine) -> int:
    assert engine.process_id is not None
    return engine.process_id


async def answer(
    engine: LlamaEngine, *, prompt: Sequence[int] = (5,) * 20, kill_at: type | None = None
) -> GenerationEnded:
    """Read and write; kill the engine when the first event of a kind arrives."""
    request = GenerationRequest(tuple(prompt), 0, 16, temperature=0.0, top_p=1.0)
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if kill_at is not None and isinstance(event, kill_at):
                os.kill(process_of(engine), signal.SIGKILL)
            if isinstance(event, GenerationEnded):
                return event
    raise AssertionError("an answer has to end")


async def test_only_who_knows_the_key_is_answered_and_nobody_else_can_read_it(tiny_file: Path) -> None:
    server = await ServerProcess.start(settings(tiny_file))
    try:
        shown = psutil.Process(server.pid)
        assert server.api_key not in " ".join([*shown.cmdline(), *shown.environ().values()])
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as stranger:
            refused = await stranger.post("/tokenize", json={"content": "x"})
            page = await stranger.get("/")
        assert refused.status_code == 401
        assert page.status_code in {401, 404}
        assert httpx2.URL(server.url).host == "127.0.0.1"
    finally:
        await server.stop()


async def test_two_servers_never_share_a_port_or_a_key(tiny_file: Path) -> None:
    servers = [await ServerProcess.start(settings(tiny_file)) for _ in range(2)]
    try:
        assert servers[0].url != servers[1].url
        assert servers[0].api_key != servers[1].api_key
    finally:
        for server in servers:
            await server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the score is Linux's")
async def test_the_kernel_takes_the_engine_before_the_service(tiny_file: Path) -> None:
    server = await ServerProcess.start(settings(tiny_file))
    try:
        own, other = [
            int(await anyio.Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", server.pid)
        ]
        assert other > own
    finally:
        await server.stop()


async def test_callers_at_the_same_time_share_one_process(engine: LlamaEngine) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(engine.load)

    assert children() == [process_of(engine)]


async def test_a_load_that_is_given_up_leaves_no_process(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native_stand_in.put_in_place(native_stand_in.ENDLESS_LOAD, tmp_path, monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(llama_engine(tiny_file, prompt_format="llama2").load)
        await until(lambda: len(children()) == 1)
        tasks.cancel_scope.cancel()

    assert children() == []


async def test_a_load_that_takes_too_long_is_ended(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native_stand_in.put_in_place(native_stand_in.ENDLESS_LOAD, tmp_path, monkeypatch)

    with pytest.raises(EngineFailed, match="not loaded"):
        await ServerProcess.start(settings(tiny_file), start_seconds=0.5)


@pytest.mark.parametrize(
    ("library", "expected", "says"),
    [
        (native_stand_in.MISSING_LIBRARY, SystemLacks, "apt-get install libgomp1"),
        (native_stand_in.ILLEGAL_INSTRUCTION, SystemLacks, "AVX2"),
        (native_stand_in.OUT_OF_MEMORY_KILL, EngineDied, "smaller model"),
        (native_stand_in.NO_MEMORY, NotEnoughMemory, "smaller model"),
        (native_stand_in.UNKNOWN_ARCHITECTURE, InvalidModel, "unknown model architecture: 'next'"),
        (native_stand_in.RENAMED_PARAMETER, EngineDied, "AttributeError"),
        (native_stand_in.NO_ADDRESS, EngineFailed, "no address"),
        (native_stand_in.ENDLESS_ADDRESS, EngineFailed, "no address"),
    ],
    ids=[
        "missing library",
        "old processor",
        "killed for memory",
        "no memory",
        "unknown architecture",
        "renamed parameter",
        "no address",
        "endless address",
    ],
)
async def test_a_start_that_fails_says_why(
    library: str,
    expected: type[CodingAssistantError],
    says: str,
    *,
    tiny_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    native_stand_in.put_in_place(library, tmp_path, monkeypatch)

    with pytest.raises(expected) as failed:
        await ServerProcess.start(settings(tiny_file))
    assert says in failed.value.message + failed.value.hint


async def test_a_model_that_the_engine_refuses_is_broken_for_the_engines_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))

    with pytest.raises(ModelBroken, match="cannot load the model"):
        await ServerProcess.start(settings(broken))


async def test_a_file_that_is_no_model_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"not a model" * 100)

    with pytest.raises(ModelBroken):
        await llama_engine(junk).load()


async def test_a_model_that_does_not_fit_is_refused_before_a_process_starts(tiny_file: Path) -> None:
    with pytest.raises(NotEnoughMemory, match="slots"):
        await llama_engine(tiny_file, prompt_format="llama2", slots=100_000_000).load()


async def test_closing_ends_the_process(engine: LlamaEngine) -> None:
    await engine.load()
    pid = process_of(engine)
    await engine.close()

    assert is_gone(pid)
    assert engine.process_id is None


async def test_closing_in_the_middle_of_answers_tells_their_readers(engine: LlamaEngine) -> None:
    await engine.load()
    pid = process_of(engine)
    os.kill(pid, signal.SIGSTOP)
    reasons: list[str] = []

    async def read() -> None:
        with pytest.raises(EngineDied) as died:
            await answer(engine)
        reasons.append(died.value.message)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await engine.close()

    assert len(reasons) == 3
    assert is_gone(pid)


@pytest.mark.model
@pytest.mark.parametrize(("moment", "length"), [(PromptRead, 900), (TextPiece, 20)])
async def test_a_death_in_the_middle_of_an_answer_is_told_and_the_next_question_answered(
    moment: type, length: int, slow_engine: LlamaEngine
) -> None:
    with pytest.raises(EngineDied):
        await answer(slow_engine, prompt=(5,) * length, kill_at=moment)

    assert not slow_engine.is_loaded
    assert (await answer(slow_engine)).written_tokens >= 1


async def test_a_death_while_nobody_asks_costs_nobody_an_answer(engine: LlamaEngine) -> None:
    await engine.load()
    os.kill(process_of(engine), signal.SIGKILL)
    await until(lambda: not engine.is_loaded)

    assert (await answer(engine)).written_tokens >= 1


async def test_an_engine_that_dies_again_and_again_is_given_up_until_it_is_closed(
    engine: LlamaEngine,
) -> None:
    for _ in range(MOST_DEATHS):
        await engine.load()
        os.kill(process_of(engine), signal.SIGKILL)
        await until(lambda: not engine.is_loaded)

    with pytest.raises(EngineUnavailable, match=f"died {MOST_DEATHS} times"):
        await engine.load()
    await engine.close()
    await engine.load()


async def test_an_engine_that_hangs_is_killed_and_started_again(tiny_file: Path) -> None:
    engine = llama_engine(tiny_file, prompt_format="llama2", patience_seconds=0.5)
    await engine.load()
    hung = process_of(engine)
    os.kill(hung, signal.SIGSTOP)
    try:
        with pytest.raises(EngineDied, match="stopped answering"):
            await answer(engine)
        await engine.load()  # no part of the patience above, which a busy machine may need
        assert process_of(engine) != hung
    finally:
        await engine.close()


@pytest.mark.model
async def test_closing_while_the_prompt_is_read_tells_the_reader(slow_engine: LlamaEngine) -> None:
    request = GenerationRequest((5,) * 900, 0, 8, temperature=0.0, top_p=1.0)
    async with aclosing(slow_engine.generate(request)) as events:
        await anext(events)
        await slow_engine.close()
        with pytest.raises(EngineDied):
            async for _ in events:
                pass


@pytest.mark.model
async def test_a_reader_who_leaves_while_the_prompt_is_read_frees_the_slot(slow_engine: LlamaEngine) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(answer, slow_engine, prompt=(5,) * 900))
        while not await slow_engine.busy_slots():
            await checkpoint()
        tasks.cancel_scope.cancel()

    while await slow_engine.busy_slots():
        await checkpoint()  # asking takes the engine's time already
    assert (await answer(slow_engine)).written_tokens >= 1


@pytest.mark.parametrize("still_loading", [False, True])
async def test_the_process_ends_when_its_parent_is_killed(
    *, still_loading: bool, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if still_loading:
        if sys.platform != "linux":
            pytest.skip("elsewhere the end of the parent is seen once the model is loaded")
        native_stand_in.put_in_place(native_stand_in.ENDLESS_LOAD, tmp_path, monkeypatch)
    command = [sys.executable, engine_owner.__file__, str(tiny_file)]
    async with await anyio.open_process(command, stdout=PIPE) as parent:
        await until(lambda: len(children(parent.pid)) == 1)
        child = children(parent.pid)[0]
        if not still_loading:
            assert parent.stdout is not None
            await BufferedByteReceiveStream(parent.stdout).receive_until(b"loaded", 100)
        parent.kill()
    await until(lambda: is_gone(child))


async def test_the_log_tells_of_a_refusal_but_not_what_was_asked(tiny_file: Path, tmp_path: Path) -> None:
    log_file = tmp_path / "engine.log"
    engine = llama_engine(tiny_file, prompt_format="llama2", log_file=log_file)
    tokens = await engine.tokenize("my secret plan")
    with pytest.raises(EngineFailed, match="invalid tokens"):
        await answer(engine, prompt=[*tokens, 1_000_000])
    await answer(engine, prompt=tokens)
    await engine.close()

    log = log_file.read_text(encoding="utf-8")
    assert "invalid tokens" in log
    assert "secret" not in log


async def test_the_log_keeps_the_last_words_and_stays_small(tmp_path: Path) -> None:
    log_file = tmp_path / "engine.log"
    log_file.write_text("old " * 1_000_000, encoding="utf-8")
    log = EngineLog(log_file)
    with os.fdopen(log.write_end, "w") as child:
        child.write("first\nlast words\n")

    assert log.finished().endswith("last words")
    assert log_file.stat().st_size <= EngineLog.MOST_BYTES


@pytest.mark.parametrize("is_old", [False, True])
async def test_only_its_owner_can_read_the_log(tmp_path: Path, *, is_old: bool) -> None:
    log_file = tmp_path / "engine.log"
    if is_old:
        log_file.touch(mode=0o644)
    log = EngineLog(log_file)
    os.close(log.write_end)
    log.finished()

    assert stat.S_IMODE(log_file.stat().st_mode) == 0o600


async def test_the_log_keeps_what_is_grave_and_the_last_words_of_a_library(tmp_path: Path) -> None:
    log_file = tmp_path / "engine.log"
    log = EngineLog(log_file)
    with os.fdopen(log.write_end, "w") as child:
        child.write(
            "spoken before the log begins\n"
            "0.00.001.000 I srv  init: chat template, example: 'You are helpful\n"
            "Hello'\n"
            "0.00.002.000 W srv  load: no key\n"
            "and why\n"
            "0.00.002.000 I load_tensors: offloaded 7/33 layers to GPU\n"
            "....\n"
            "ggml.c:17: GGML_ASSERT(n > 0) failed\n"
        )

    kept = [
        "spoken before the log begins",
        "0.00.002.000 W srv  load: no key",
        "and why",
        "ggml.c:17: GGML_ASSERT(n > 0) failed",
    ]
    assert log.finished().splitlines() == kept
    assert log_file.read_text(encoding="utf-8").splitlines() == kept
    assert log.offload() == Offload(7, 33)


async def test_a_log_that_cannot_be_written_is_told(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryUnusable, match=r"engine\.log"):
        await ServerProcess.start(settings(tiny_file), log_file=tmp_path / "absent" / "engine.log")
