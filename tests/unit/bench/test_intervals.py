import pytest

from retrieval_bench.intervals import mean_interval


def test_the_mean_is_over_questions_not_repositories() -> None:
    interval = mean_interval([[1.0, 1.0, 1.0], [0.0]])
    assert interval is not None
    assert interval.mean == pytest.approx(0.75)


def test_repositories_that_agree_leave_no_doubt() -> None:
    interval = mean_interval([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
    assert interval is not None
    assert interval.low == pytest.approx(interval.high) == pytest.approx(0.2)


def test_repositories_that_disagree_leave_doubt() -> None:
    interval = mean_interval([[0.3] * 20, [-0.3] * 20, [0.1] * 20])
    assert interval is not None
    assert interval.low < 0 < interval.high


def test_an_interval_can_be_repeated() -> None:
    values = [[0.1, 0.5], [0.2], [0.7, 0.0]]
    assert mean_interval(values) == mean_interval(values)


def test_one_repository_says_nothing_of_others() -> None:
    assert mean_interval([[0.1, 0.2], []]) is None
