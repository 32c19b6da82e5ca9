"""Brings indexes up to date while nobody waits for them, so that a question finds little left to do.

It yields to the model: while an answer is in the making no index is worked on, and what was begun is left.
It goes on later; so it does after the end of the process.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from pathlib import Path
from time import monotonic

import anyio

from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.errors import CodingAssistantError, places
from coding_assistant.index.upkeep import IN_BACKGROUND

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""What changes within this time is one change: a checkout, a build, a save of many files."""
REST_SECONDS = 60.0
"""A folder that could not be read, or not be watched, is left alone for so long."""
MOST_WATCHED = 16
"""The system watches every folder within a folder, and a user has some 200,000 of them on Linux."""


class BackgroundRefresh:
    """Looks after some folders' indexes, one at a time, until it is cancelled."""

    def __init__(
        self,
        codes: Callable[[], Sequence[ProjectCode]],
        *,
        is_busy: Callable[[], bool],
        unheeded: Collection[Path] = (),
    ) -> None:
        self._codes = codes
        self._is_busy = is_busy
        self._unheeded = unheeded
        self._rests_until: dict[Path, float] = {}

    async def run(self) -> None:
        """Look after the folders; returns only by cancellation."""
        while True:
            for code in self._codes()[:MOST_WATCHED]:
                if monotonic() >= self._rests_until.get(code.root, 0.0) and not self._is_busy():
                    await self._look_after(code)
            await anyio.sleep(LOOK_SECONDS)

    async def _look_after(self, code: ProjectCode) -> None:
        try:
            if code.is_due:
                await self._update(code)
            if not code.is_watching:
                await code.begin_watching(unheeded=self._unheeded)
        except CodingAssistantError as error:
            logger.warning("the index of a folder is not kept up to date: %s", error.code)
            self._rests_until[code.root] = monotonic() + REST_SECONDS
        except Exception as error:  # noqa: BLE001  -- the edge of a task that nobody awaits: the server goes on
            logger.error("an index was not brought up to date: %s", places(error))  # noqa: TRY400
            self._rests_until[code.root] = monotonic() + REST_SECONDS

    async def _update(self, code: ProjectCode) -> None:
        async with aclosing(code.updates(pace=IN_BACKGROUND)) as steps:
            async for _ in steps:
                if self._is_busy():
                    return
