"""From the terminal's thread to the assistant's event loop.

``input()`` and Ctrl-C belong to the main thread, the assistant to an event loop; so the loop runs in a
thread of its own, and the commands are ordinary blocking functions. Ctrl-C in the middle of a stream is
an item of that stream: no line of the rendering can be cut in two by it.
"""

import contextlib
import signal
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from enum import Enum
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")

_WAKE_SECONDS = 0.25
"""Windows runs no signal handler while a thread waits for a lock; it does between two waits."""


class Interrupt(Enum):
    """What stands in a stream where Ctrl-C was pressed."""

    PRESSED = "Ctrl-C"


class InterruptedAgain(KeyboardInterrupt):
    """Ctrl-C was pressed a second time in one stream: the user wants to leave, not to stop."""


class _End(Enum):
    REACHED = "end"


class Bridge:
    """Calls asynchronous functions from the main thread and waits for them."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def run(self, call: Awaitable[T]) -> T:
        """Return the call's result; Ctrl-C abandons it."""
        return self._portal.call(_result, call)

    def within(self, context: AbstractAsyncContextManager[T]) -> contextlib.AbstractContextManager[T]:
        """Enter and leave an asynchronous context, both in one task of the loop."""
        return self._portal.wrap_async_context_manager(context)

    def events(self, source: AsyncGenerator[T, None]) -> Generator[T | Interrupt, None, None]:
        """Yield what the source yields, and each first Ctrl-C; closing it closes the source."""
        queue: SimpleQueue[T | Interrupt | _End] = SimpleQueue()  # its put may run in a signal handler

        async def pump() -> None:
            async with aclosing(source):
                async for event in source:
                    queue.put(event)

        with _interrupts_into(queue):
            pumped = self._portal.start_task_soon(pump)
            pumped.add_done_callback(lambda _: queue.put(_End.REACHED))
            try:
                while (event := _next(queue)) is not _End.REACHED:
                    yield event
                pumped.result()
            finally:
                pumped.cancel()


@contextmanager
def bridge() -> Iterator[Bridge]:
    """Run an event loop beside the main thread."""
    with start_blocking_portal(name="assistant") as portal:
        yield Bridge(portal)


async def _result(call: Awaitable[T]) -> T:
    return await call


def _next(queue: "SimpleQueue[T | Interrupt | _End]") -> T | Interrupt | _End:
    while True:
        with contextlib.suppress(Empty):
            return queue.get(timeout=_WAKE_SECONDS)


@contextmanager
def _interrupts_into(queue: "SimpleQueue[T | Interrupt | _End]") -> Iterator[None]:
    pressed = False

    def press(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise InterruptedAgain
        pressed = True
        queue.put(Interrupt.PRESSED)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
