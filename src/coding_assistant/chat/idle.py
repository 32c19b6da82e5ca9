"""Whose the model is: a question's at once, and otherwise work's that nobody waits for.

What goes on for nobody (reading ahead, summaries, saving slots) runs where a question cancels it, and gives
the engine back within a batch.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeAlias, TypeVar

import anyio

from coding_assistant.errors import CodingAssistantError, places

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

Chore: TypeAlias = Callable[[], Awaitable[bool]]
"""Something to do while nobody asks; says whether there was anything to do."""

QUIET_SECONDS = 2.0
"""Who reads an answer and asks on at once is not to find the model at work on something else."""

LOOK_SECONDS = 30.0
"""Chores are looked for so often where no question brings any: an index may have been made anew."""


class Attention:
    """Knows whether somebody waits for the model, and stops what goes on for nobody as soon as that is so."""

    def __init__(self) -> None:
        self._questions = 0
        self._idle_scopes: set[anyio.CancelScope] = set()
        self._last_end = 0.0
        self._changed = anyio.Event()

    @property
    def questions(self) -> int:
        """How many questions are being answered, those that wait among them."""
        return self._questions

    @contextmanager
    def question(self) -> Iterator[None]:
        """Take the attention inside; what goes on for nobody is cancelled now."""
        self._questions += 1
        self._note_change()
        self.stop_chores()
        try:
            yield
        finally:
            self._questions -= 1
            self._last_end = anyio.current_time()
            self._note_change()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None, None]:
        """Be inside only once nothing goes on for nobody, and let nothing begin.

        For whoever takes away what such work may be reading at this moment.
        """
        with self.question():
            while self._idle_scopes:
                await self._changed.wait()
            yield

    def stop_chores(self) -> None:
        """Cancel what goes on for nobody, for something that somebody may soon wait for."""
        self._last_end = anyio.current_time()
        for scope in self._idle_scopes:
            scope.cancel()

    async def unless_asked(self, work: Callable[[], Awaitable[_Result]]) -> _Result | None:
        """Do what can wait, until somebody asks; return its result, None if it was stopped."""
        if self._questions:
            return None
        with anyio.CancelScope() as scope:
            self._idle_scopes.add(scope)
            try:
                return await work()
            finally:
                self._idle_scopes.discard(scope)
                self._note_change()
        return None

    async def quiet(self, seconds: float) -> None:
        """Return once nobody has waited for so long."""
        while self._questions or (left := self._last_end + seconds - anyio.current_time()) > 0:
            with anyio.move_on_after(None if self._questions else left):
                await self._changed.wait()

    async def change(self) -> None:
        """Return when a question begins or ends."""
        await self._changed.wait()

    def _note_change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class IdleWork:
    """Does chores, in their order of worth, whenever nobody waits for the model."""

    def __init__(
        self, attention: Attention, chores: Sequence[Chore], *, quiet_seconds: float = QUIET_SECONDS
    ) -> None:
        self._attention = attention
        self._chores = chores
        self._quiet_seconds = quiet_seconds

    async def run(self) -> None:
        """Go on for ever; returns only by cancellation."""
        while True:
            await self._attention.quiet(self._quiet_seconds)
            if not await self.do_next():
                with anyio.move_on_after(LOOK_SECONDS):
                    await self._attention.change()

    async def do_next(self) -> bool:
        """Do the first chore that there is; return whether one was done to its end."""
        for chore in self._chores:
            done = await self._attention.unless_asked(partial(attempted, chore))
            if done is not False:
                return bool(done)
        return False


async def attempted(work: Chore) -> bool:
    """Do what nobody waits for; if it fails, nothing was done, and whoever did it goes on."""
    try:
        return await work()
    except CodingAssistantError as error:
        logger.warning("work for an idle moment was left: %s", error.code)
    except Exception as error:  # noqa: BLE001  -- the edge of a task that nobody awaits: the server goes on
        logger.error("work for an idle moment failed: %s", places(error))  # noqa: TRY400
    return False
