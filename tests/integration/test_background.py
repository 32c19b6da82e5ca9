"""Indexes are brought up to date while nobody asks, and never while the model works."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from coding_assistant.assistant import background
from coding_assistant.assistant.background import BackgroundRefresh
from coding_assistant.chat.project_code import ProjectCode

pytestmark = pytest.mark.anyio
_PATIENCE_SECONDS = 60.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = (tmp_path / "project").resolve()
    root.mkdir()
    (root / "kept.py").write_text("zebra = 1\n")
    return root


@pytest.fixture
async def code(tmp_path: Path, root: Path) -> AsyncGenerator[ProjectCode, None]:
    code = ProjectCode(root, tmp_path / "index.sqlite3")
    yield code
    await code.close()


class _Model:
    """Whether somebody is being answered."""

    is_busy = False


@asynccontextmanager
async def _looking_after(
    code: ProjectCode, model: _Model, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[None, None]:
    monkeypatch.setattr(background, "LOOK_SECONDS", 0.01)
    refresh = BackgroundRefresh(lambda: [code], is_busy=lambda: model.is_busy)
    with anyio.fail_after(_PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refresh.run)
            yield
            tasks.cancel_scope.cancel()


async def _files(code: ProjectCode, expected: int) -> None:
    """Wait until the index holds so many files."""
    while True:
        counts = await code.counts()
        if counts is not None and counts.files == expected:
            return
        await anyio.lowlevel.checkpoint()


async def test_an_index_is_made_and_follows_the_folder(
    code: ProjectCode, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _looking_after(code, _Model(), monkeypatch):
        await _files(code, 1)
        (root / "new.py").write_text("okapi = 1\n")
        await _files(code, 2)
        (root / "kept.py").unlink()
        await _files(code, 1)
    assert [str(hit.chunk.path) for hit in await code.search("okapi", limit=5)] == ["new.py"]


async def test_nothing_is_done_while_the_model_works_and_everything_afterwards(
    code: ProjectCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _Model()
    model.is_busy = True
    async with _looking_after(code, model, monkeypatch):
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        assert await code.counts() is None
        model.is_busy = False
        await _files(code, 1)


async def test_an_update_is_left_when_a_question_comes_and_gone_on_with_later(
    code: ProjectCode, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(900):
        (root / f"file{number}.py").write_text(f"okapi_{number} = 1\n")
    model = _Model()
    async with _looking_after(code, model, monkeypatch):
        while not (await code.counts() or None):
            await anyio.lowlevel.checkpoint()
        model.is_busy = True
        stats = await code.refresh(lambda _: None)  # what the question does itself; nobody holds it up
        assert stats.files == 901
        (root / "kept.py").unlink()
        model.is_busy = False
        await _files(code, 900)


async def test_a_folder_that_is_gone_holds_nobody_up(
    tmp_path: Path, code: ProjectCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ProjectCode(tmp_path / "gone", tmp_path / "gone.sqlite3")
    monkeypatch.setattr(background, "LOOK_SECONDS", 0.01)
    refresh = BackgroundRefresh(lambda: [gone, code], is_busy=lambda: False)
    with anyio.fail_after(_PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refresh.run)
            await _files(code, 1)
            tasks.cancel_scope.cancel()
    await gone.close()
