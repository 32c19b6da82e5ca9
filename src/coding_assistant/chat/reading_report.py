"""How far the model is with reading a prompt, and how long it will take."""

from collections.abc import Callable
from time import monotonic

from coding_assistant.chat.generation import Emit
from coding_assistant.domain import PromptRead, Reading


def reading_reporter(emit: Emit, *, speed: float | None) -> Callable[[PromptRead], None]:
    """Return a function that passes reading on with the time that remains.

    ``speed`` is what this machine has read in a second before; the present reading's own counts as soon as
    there is one.
    """
    began = monotonic()

    def report(read: PromptRead) -> None:
        fresh = read.done - read.cached
        per_second = fresh / (monotonic() - began) if fresh > 0 else speed
        remaining = (read.total - read.done) / per_second if per_second else None
        emit(Reading(read.done, read.total, read.cached, remaining))

    return report
