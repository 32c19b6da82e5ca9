from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.inference.server_answers import Timings
from coding_assistant.inference.server_slots import PIECE_SECONDS, PIECE_STEP_TOKENS, Pace


def read(tokens: int, *, seconds: float) -> Timings:
    return Timings(cache_n=0, prompt_n=tokens, prompt_ms=seconds * 1000, predicted_n=0, predicted_ms=0)


@given(tokens=st.integers(8, 4096), seconds=st.floats(0.001, 100))
def test_a_piece_takes_no_longer_than_a_cancellation_may(tokens: int, seconds: float) -> None:
    pace = Pace()
    pace.note(read(tokens, seconds=seconds))

    assert pace.piece_tokens % PIECE_STEP_TOKENS == 0
    piece_seconds = pace.piece_tokens * seconds / tokens
    assert pace.piece_tokens == PIECE_STEP_TOKENS or piece_seconds <= PIECE_SECONDS * 1.001


def test_the_pace_follows_a_machine_that_becomes_slower() -> None:
    pace = Pace()
    pace.note(read(64, seconds=0.1))
    fast = pace.piece_tokens
    pace.note(read(fast, seconds=2 * PIECE_SECONDS))

    assert PIECE_STEP_TOKENS < pace.piece_tokens <= fast / 2


def test_what_was_in_the_slot_already_tells_nothing_of_the_speed() -> None:
    pace = Pace()
    pace.note(read(1, seconds=0.000_1))

    assert pace.piece_tokens == PIECE_STEP_TOKENS
