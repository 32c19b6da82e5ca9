"""What becomes of other processes, which can set no event in this one."""

from collections.abc import Callable

import anyio
import psutil

LIMIT_SECONDS = 60.0


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, also when nobody has asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; raise TimeoutError after ``LIMIT_SECONDS``."""
    with anyio.fail_after(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 -- another process cannot set an event
            await anyio.sleep(0.01)
