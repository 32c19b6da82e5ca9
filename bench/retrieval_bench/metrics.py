"""What an answer list and its sources are worth: pure functions of spans and gold."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from retrieval_bench.questions import Gold, Question
from retrieval_bench.spans import Budget, Span, one_per_file, within

RANKS = 10
RECALL_RANKS = (1, 5, 10)
BUDGETS_TOKENS = (500, 1_000, 2_000, 4_000)


def score_list(question: Question, listed: Sequence[Span], deep: Sequence[Span]) -> dict[str, float]:
    """Score a result list: ``listed`` as a user gets it, ``deep`` with enough for ten files.

    ``ndcg`` counts chunks as semble does, ``ndcg by file`` each file once. Gold is whole files, except in
    ``ndcg lines``, semble's own figure: there a hit must overlap the gold lines, where lines are given.
    """
    files = dict.fromkeys(gold.path for gold in question.gold)
    as_files = tuple(map(Gold, files))
    by_file = one_per_file(deep)
    scores = {
        "ndcg": ndcg(listed, as_files),
        "ndcg by file": ndcg(by_file, as_files),
        "ndcg lines": ndcg(listed, question.gold),
        "mrr": reciprocal_rank(by_file, files),
    }
    return scores | {f"r@{ranks}": recall(by_file, files, ranks) for ranks in RECALL_RANKS}


def score_sources(question: Question, sources: Sequence[Span], budget: Budget) -> dict[str, float]:
    """Score sources for a model within a budget.

    ``files`` is the share of gold files shown in part, ``spans`` 1 if every gold span is touched, ``lines``
    the share of gold lines shown; the last two only where the gold lines are the release's own.
    """
    files = {gold.path for gold in question.gold}
    shown = within(sources, budget)
    scores = {f"files@{budget.tokens}": len(files & {span.path for span in shown}) / len(files)}
    if question.lines_hold:
        touched = all(any(touches(span, gold) for span in shown) for gold in question.gold)
        scores[f"spans@{budget.tokens}"] = float(touched)
        scores[f"lines@{budget.tokens}"] = lines_shown(shown, question.gold)
    return scores


def touches(span: Span, gold: Gold) -> bool:
    """Return whether the span shows any of the gold."""
    if span.path != gold.path:
        return False
    return not gold.has_lines or (span.start_line <= gold.end_line and span.end_line >= gold.start_line)


def ndcg(spans: Sequence[Span], golds: Sequence[Gold]) -> float:
    """Return NDCG at ``RANKS`` with binary gain, as semble: a span that is first for two golds gains once."""
    ranks = {rank for gold in golds for rank in _first_rank(spans[:RANKS], gold)}
    return _gain(ranks) / _gain(range(1, min(len(golds), RANKS) + 1))


def _first_rank(spans: Iterable[Span], gold: Gold) -> Iterator[int]:
    ranks = (rank for rank, span in enumerate(spans, start=1) if touches(span, gold))
    first = next(ranks, None)
    if first is not None:
        yield first


def _gain(ranks: Iterable[int]) -> float:
    return math.fsum(1 / math.log2(rank + 1) for rank in ranks)


def recall(by_file: Sequence[Span], files: Iterable[PurePosixPath], ranks: int) -> float:
    """Return the share of gold files among the first files, of as many as could be there."""
    gold = set(files)
    return len(gold & {span.path for span in by_file[:ranks]}) / min(len(gold), ranks)


def reciprocal_rank(by_file: Sequence[Span], files: Iterable[PurePosixPath]) -> float:
    """Return one divided by the rank of the first gold file, 0 if there is none."""
    gold = set(files)
    return next((1 / rank for rank, span in enumerate(by_file, start=1) if span.path in gold), 0.0)


def lines_shown(shown: Sequence[Span], golds: Sequence[Gold]) -> float:
    """Return the share of all gold lines that the spans show."""
    total = found = 0
    for gold in golds:
        lines = set(range(gold.start_line, gold.end_line + 1))
        total += len(lines)
        for span in shown:
            if span.path == gold.path:
                found += len(lines & (seen := set(range(span.start_line, span.end_line + 1))))
                lines -= seen
    return found / total
