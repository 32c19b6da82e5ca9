import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing

import anyio
import pytest

from coding_assistant.cli.bridge import Bridge, Interrupt, InterruptedAgain, bridge


async def numbers(closed: list[str], *, upto: int = 3) -> AsyncGenerator[int, None]:
    try:
        for number in range(upto):
            yield number
    finally:
        closed.append("source")


async def endless(closed: list[str]) -> AsyncGenerator[int, None]:
    try:
        yield 1
        await anyio.sleep_forever()
    finally:
        closed.append("source")


async def failing() -> AsyncGenerator[int, None]:
    yield 1
    raise LookupError("later")


def test_events_come_in_order_and_the_source_is_closed() -> None:
    closed: list[str] = []
    with bridge() as crossing:
        assert list(crossing.events(numbers(closed))) == [0, 1, 2]
    assert closed == ["source"]


def test_what_the_source_raises_is_raised_here() -> None:
    with bridge() as crossing, closing(crossing.events(failing())) as events:
        assert next(events) == 1
        with pytest.raises(LookupError, match="later"):
            next(events)


def test_leaving_early_closes_the_source() -> None:
    closed: list[str] = []
    with bridge() as crossing, closing(crossing.events(endless(closed))) as events:
        assert next(events) == 1
    assert closed == ["source"]


def test_ctrl_c_is_an_item_and_a_second_one_leaves() -> None:
    closed: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with bridge() as crossing, closing(crossing.events(endless(closed))) as events:
        assert next(events) == 1
        signal.raise_signal(signal.SIGINT)
        assert next(events) is Interrupt.PRESSED
        with pytest.raises(InterruptedAgain):
            signal.raise_signal(signal.SIGINT)
    assert closed == ["source"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_context_is_left_whole_whatever_happened_inside() -> None:
    left: list[str] = []

    @asynccontextmanager
    async def guarded() -> AsyncGenerator[str, None]:
        try:
            with anyio.CancelScope():  # it can be left only by the task that entered it
                yield "inside"
        finally:
            left.append("context")

    def fail_within(crossing: Bridge) -> None:
        with crossing.within(guarded()) as value:
            assert value == "inside"
            raise LookupError("of the command")

    with bridge() as crossing, pytest.raises(LookupError, match="of the command"):
        fail_within(crossing)
    assert left == ["context"]


def test_a_call_returns_or_raises() -> None:
    async def fail() -> None:
        raise LookupError("no")

    async def succeed() -> int:
        return 7

    with bridge() as crossing:
        assert crossing.run(succeed()) == 7
        with pytest.raises(LookupError):
            crossing.run(fail())
