"""When a call to a server elsewhere is made again that failed, and when not.

A server that is busy or loads its model is asked again until patience ends, as often as it likes. One that
cannot be reached is tried a few times: it may be restarting, but more likely the address is wrong.
"""

import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

import anyio

from coding_assistant.inference.remote_server import RemoteFailure

_MOST_UNREACHED: Final = 3
_LONGEST_PAUSE_SECONDS: Final = 8.0

_Result = TypeVar("_Result")


class Retries:
    """Counts the failures of one call. ``pause_seconds`` is the first pause, the others double it."""

    def __init__(
        self,
        *,
        patience_seconds: float,
        pause_seconds: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._pause = pause_seconds
        self._clock = clock
        self._deadline = clock() + patience_seconds
        self._unreached = 0

    def pause_after(self, failure: RemoteFailure) -> float | None:
        """Return how many seconds to wait before the call is made again; None if it is not to be."""
        transience = failure.transience
        if transience is None:
            return None
        self._unreached += not transience.is_answering
        if self._unreached >= _MOST_UNREACHED:
            return None
        # Unequal pauses: those who were refused together must not come back together.
        own = self._pause * random.uniform(0.75, 1.25)  # noqa: S311  -- nobody gains by guessing it
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        # Never less than our own: a server that says 0 each time would be asked without a pause.
        pause = max(own, transience.retry_after_seconds or 0.0)
        return pause if self._clock() + pause <= self._deadline else None


async def patiently(call: Callable[[], Awaitable[_Result]], retries: Retries) -> _Result:
    """Return what a call returns, made again while that may help; raises the reason why it failed."""
    while True:
        try:
            return await call()
        except RemoteFailure as failure:
            pause = retries.pause_after(failure)
            if pause is None:
                raise failure.reason from failure
        await anyio.sleep(pause)
