import pytest

from coding_assistant.errors import EngineBusy, EngineFailed, EngineUnavailable
from coding_assistant.inference.remote_retries import Retries, patiently
from coding_assistant.inference.remote_server import RemoteFailure, Transience

pytestmark = pytest.mark.anyio

FINAL = RemoteFailure(EngineFailed("It failed."))
UNREACHED = RemoteFailure(EngineUnavailable("It is not there."), Transience(is_answering=False))
BUSY = RemoteFailure(EngineBusy("It is busy."), Transience(is_answering=True))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pauses_of(failure: RemoteFailure, *, patience_seconds: float = 60.0) -> list[float]:
    clock = Clock()
    retries = Retries(patience_seconds=patience_seconds, pause_seconds=0.5, clock=clock)
    pauses = []
    while (pause := retries.pause_after(failure)) is not None:
        pauses.append(pause)
        clock.now += pause
    return pauses


def test_what_cannot_pass_is_not_tried_again() -> None:
    assert pauses_of(FINAL) == []


def test_a_server_that_is_not_there_is_tried_three_times_in_all() -> None:
    assert len(pauses_of(UNREACHED)) == 2


def test_a_busy_one_is_asked_until_patience_ends_with_pauses_that_grow() -> None:
    pauses = pauses_of(BUSY, patience_seconds=60.0)

    assert 40 <= sum(pauses) <= 60
    assert pauses[0] < 1
    assert 5 < pauses[-1] <= 10


def test_it_says_itself_when_to_come_again() -> None:
    said = Transience(is_answering=True, retry_after_seconds=7.0)

    assert pauses_of(RemoteFailure(BUSY.reason, said), patience_seconds=20.0) == [7.0, 7.0]


def test_a_server_that_says_at_once_is_not_asked_without_a_pause() -> None:
    said = Transience(is_answering=True, retry_after_seconds=0.0)
    pauses = pauses_of(RemoteFailure(BUSY.reason, said))

    assert pauses[0] > 0
    assert len(pauses) < 20


def test_who_is_to_come_later_than_patience_lasts_does_not_wait() -> None:
    said = Transience(is_answering=True, retry_after_seconds=61.0)

    assert pauses_of(RemoteFailure(BUSY.reason, said)) == []


async def test_a_call_is_made_until_it_succeeds_or_the_reason_is_raised() -> None:
    failures = [BUSY, UNREACHED]

    async def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert await patiently(call, Retries(patience_seconds=9.0, pause_seconds=0.001)) == "done"
    failures.append(FINAL)
    with pytest.raises(EngineFailed, match="It failed"):
        await patiently(call, Retries(patience_seconds=9.0, pause_seconds=0.001))
