import math
from pathlib import PurePosixPath

import pytest

from retrieval_bench.metrics import lines_shown, ndcg, score_list, score_sources
from retrieval_bench.questions import Gold, Question
from retrieval_bench.spans import Budget, Span, within


def span(path: str, start: int = 1, end: int = 10, characters: int = 100) -> Span:
    return Span(PurePosixPath(path), start, end, "x" * characters)


def gold(path: str, start: int = 0, end: int = 0) -> Gold:
    return Gold(PurePosixPath(path), start, end)


def question(*golds: Gold, lines_hold: bool = False) -> Question:
    return Question("q", "corpus", "where?", "semantic", golds, lines_hold)


def test_gold_at_the_head_of_the_list_is_perfect() -> None:
    assert ndcg([span("a.py"), span("b.py")], [gold("a.py"), gold("b.py")]) == 1.0


def test_gold_further_down_counts_by_the_logarithm_of_its_rank() -> None:
    assert ndcg([span("x.py"), span("a.py")], [gold("a.py")]) == pytest.approx(1 / math.log2(3))


def test_gold_beyond_the_tenth_span_counts_nothing() -> None:
    assert ndcg([span("x.py")] * 10 + [span("a.py")], [gold("a.py")]) == 0.0


def test_one_span_over_two_golds_gains_once() -> None:
    golds = [gold("a.py", 1, 5), gold("a.py", 6, 9)]
    assert ndcg([span("a.py", 1, 10)], golds) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_only_the_figure_by_lines_asks_for_the_lines() -> None:
    scores = score_list(question(gold("a.py", 50, 60)), [span("a.py", 1, 10)], [span("a.py", 1, 10)])
    assert (scores["ndcg"], scores["ndcg lines"]) == (1.0, 0.0)


def test_files_are_counted_once_where_it_says_by_file() -> None:
    spans = [span("x.py", 1, 5), span("x.py", 6, 9), span("a.py")]
    scores = score_list(question(gold("a.py")), spans, spans)
    assert scores["mrr"] == 1 / 2
    assert scores["ndcg by file"] > scores["ndcg"]
    assert (scores["r@1"], scores["r@5"]) == (0.0, 1.0)


def test_recall_asks_for_no_more_files_than_there_are_ranks() -> None:
    scores = score_list(question(gold("a.py"), gold("b.py")), [span("a.py")], [span("a.py")])
    assert (scores["r@1"], scores["r@5"]) == (1.0, 0.5)


def test_a_span_that_does_not_fit_is_passed_by() -> None:
    small, large, last = (
        span("a.py", characters=100),
        span("b.py", characters=300),
        span("c.py", characters=100),
    )
    assert within([small, large, last], Budget(100, characters_per_token=2)) == [small, last]


def test_every_gold_span_must_be_touched() -> None:
    both = question(gold("a.py", 1, 4), gold("b.py", 1, 4), lines_hold=True)
    one = score_sources(both, [span("a.py", 3, 9)], Budget(500))
    assert (one["spans@500"], one["files@500"], one["lines@500"]) == (0.0, 0.5, 0.25)
    two = score_sources(both, [span("a.py", 3, 9), span("b.py")], Budget(500))
    assert (two["spans@500"], two["files@500"]) == (1.0, 1.0)


def test_lines_of_another_revision_are_not_scored() -> None:
    assert "spans@500" not in score_sources(question(gold("a.py", 1, 4)), [], Budget(500))


def test_a_line_that_two_spans_show_counts_once() -> None:
    assert lines_shown([span("a.py", 1, 5), span("a.py", 4, 8)], [gold("a.py", 1, 10)]) == 0.8
