from dataclasses import replace
from pathlib import Path

import pytest

from conversations_bench.course import After
from conversations_bench.report import ratio_to_ours, read_per_new, summary
from conversations_bench.results import OURS, DecodingPair, Measured, Results, read_results, write_results

RIVAL = "as somebody"

MEASURED = Measured(
    arm=OURS,
    round=1,
    step="A2",
    conversation="A",
    turn=2,
    after=After.OTHERS,
    prompt_tokens=4_000,
    read_tokens=102,
    cached_tokens=3_898,
    written_tokens=50,
    new_tokens=100,
    compacted=False,
    first_token_seconds=0.5,
    total_seconds=2.0,
    reading_seconds=0.4,
    loading_seconds=0.0,
    searching_seconds=0.02,
    service_bytes=1,
    engine_bytes=1,
    snapshot_bytes=1,
)
THEIRS = replace(MEASURED, arm=RIVAL, new_tokens=None, first_token_seconds=10.0)


def results(*measured: Measured) -> Results:
    return Results(
        commit="abc",
        python="3.11",
        engine="engine",
        model="model",
        project="project",
        context_tokens=8_192,
        answer_tokens=256,
        threads=2,
        settings={},
        measured=list(measured),
    )


def test_a_follow_up_is_compared_with_the_same_one_of_the_same_round() -> None:
    other_round = replace(THEIRS, round=2)
    assert ratio_to_ours(results(MEASURED, THEIRS, other_round), RIVAL, long_history=True) == [20.0]


def test_a_short_conversation_is_no_long_history() -> None:
    short = replace(THEIRS, prompt_tokens=900)
    assert ratio_to_ours(results(MEASURED, short), RIVAL, long_history=True) == []
    assert ratio_to_ours(results(MEASURED, short), RIVAL, long_history=False) == [20.0]


def test_follow_ups_on_a_warm_slot_are_not_compared() -> None:
    warm = [replace(each, after=After.SAME) for each in (MEASURED, THEIRS)]
    assert ratio_to_ours(results(*warm), RIVAL, long_history=False) == []


def test_what_was_read_is_compared_with_what_the_turn_added() -> None:
    first = replace(MEASURED, step="A1", after=After.NOTHING, new_tokens=None)
    compacted = replace(MEASURED, step="A3", new_tokens=None, compacted=True)
    assert read_per_new(results(first, MEASURED, compacted)) == [1.02]


def test_our_own_share_is_what_neither_reading_nor_loading_took() -> None:
    loaded = replace(MEASURED, first_token_seconds=2.5, loading_seconds=2.0)
    assert MEASURED.own_seconds == pytest.approx(loaded.own_seconds) == pytest.approx(0.1)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = results(MEASURED, THEIRS)
    written.decoding.append(DecodingPair(1_000, 100, 20.0, 20.5))
    file = tmp_path / "kept" / "results.json"
    write_results(written, file)
    assert read_results(file) == written


@pytest.mark.parametrize("measured", [(), (MEASURED,), (MEASURED, THEIRS)])
def test_a_run_can_be_shown_however_little_of_it_there_is(measured: tuple[Measured, ...]) -> None:
    assert "### Bars" in summary(results(*measured))
