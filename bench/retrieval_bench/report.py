"""Tables of results, in Markdown, ready for the README."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType

from retrieval_bench.intervals import Interval, mean_interval
from retrieval_bench.metrics import BUDGETS_TOKENS
from retrieval_bench.results import Asked, Results, SuiteResults
from retrieval_bench.suites import Suite

MEBIBYTE = 2**20
RIVALS = ("semble", "coderankembed_hybrid")  # of the published, those that a breakdown shows

_RANKED = ("ndcg", "ndcg by file", "ndcg lines", "r@1", "r@5", "r@10", "mrr")
_FILES = tuple(f"files@{budget}" for budget in BUDGETS_TOKENS)
_LINES = tuple(f"{what}@{budget}" for what in ("spans", "lines") for budget in BUDGETS_TOKENS)
_COLUMNS = MappingProxyType(
    {
        Suite.SEMBLE_ROOT: (*_RANKED, *_FILES),
        Suite.SEMBLE_WHOLE: (*_RANKED, *_FILES),
        Suite.SWE_QA: ("r@1", "r@5", "r@10", "mrr", *_FILES),
        Suite.GOLD_LINES: (*_LINES, "r@1", "r@10"),
        Suite.FOLLOW_UPS: (*_LINES, "r@1", "r@10"),
        Suite.FOLLOW_UPS_BARE: (*_LINES, "r@1", "r@10"),
    }
)
_GROUPS: MappingProxyType[str, Callable[[Asked], str]] = MappingProxyType(
    {
        "category": lambda question: question.category,
        "language": lambda question: question.language,
        "corpus": lambda question: question.corpus,
    }
)
GROUPS = tuple(_GROUPS)


def headline(suite: str) -> str:
    """Return the metric by which a suite is broken down and compared."""
    columns = _COLUMNS[Suite(suite)]
    return "spans@1000" if "spans@1000" in columns else columns[0]


def summary(results: Results) -> str:
    """Return, for every suite, the mean scores of every adapter, the differences, and what each took."""
    parts = [
        f"Commit {results.commit}, Python {results.python}, embedder {results.embedder or 'of the product'}."
    ]
    for name, suite in results.suites.items():
        if not suite.questions:
            parts.append(f"### {name}\n\nNo questions.")
            continue
        missing = sum(suite.left_out.values())
        asked, projects = len(suite.questions), len({question.corpus for question in suite.questions})
        parts += [
            f"### {name}",
            f"{asked} questions about {projects} projects; {missing} left out, not in the release.",
            _score_table(suite, _COLUMNS[Suite(name)]),
            _difference_table(results, name),
            _cost_table(suite),
        ]
    return "\n\n".join(parts)


def breakdown(results: Results, suite_name: str, by: str, metric: str) -> str:
    """Return one metric by category, language or corpus, with the published figures where there are any."""
    suite = results.suites[suite_name]
    group_of = _GROUPS[by]
    columns = {
        adapter: _by_group((group_of(question), value) for question, value in suite.values(adapter, metric))
        for adapter in suite.scores
    }
    if suite_name == Suite.SEMBLE_ROOT and by != "category":  # published by repository, not by question
        for method in RIVALS:
            columns[f"{method}, published"] = _by_group(
                (group_of(question), results.published[question.corpus][method])
                for question in suite.questions
                if question.corpus in results.published
            )
    groups = sorted({group for column in columns.values() for group in column})
    rows = [
        [group, str(len(next(iter(columns.values())).get(group, ())))]
        + [_share(column.get(group, ())) for column in columns.values()]
        for group in groups
    ]
    return markdown_table([f"{metric} by {by}", "questions", *columns], rows)


def comparison(old: Results, new: Results) -> str:
    """Return how the adapters of both runs differ, question by question of those that both asked."""
    rows = []
    for name in old.suites.keys() & new.suites.keys():
        before, after = old.suites[name], new.suites[name]
        for adapter in before.scores.keys() & after.scores.keys():
            for metric in _COLUMNS[Suite(name)]:
                first = {question.id: value for question, value in before.values(adapter, metric)}
                pairs = [
                    (question.corpus, value - first[question.id])
                    for question, value in after.values(adapter, metric)
                    if question.id in first
                ]
                rows.append([name, adapter, metric, str(len(pairs)), _interval(_clustered(pairs))])
    title = f"{new.commit} less {old.commit}, 95 % interval"
    return markdown_table(["suite", "adapter", "metric", "questions", title], sorted(rows))


def _score_table(suite: SuiteResults, metrics: Sequence[str]) -> str:
    rows = [
        [adapter, *(_share([value for _, value in suite.values(adapter, metric)]) for metric in metrics)]
        for adapter in suite.scores
    ]
    return markdown_table(["", *metrics], rows)


def _difference_table(results: Results, suite_name: str) -> str:
    """Return the first adapter less every other, and less what was published."""
    suite = results.suites[suite_name]
    metric = headline(suite_name)
    ours, *others = suite.scores
    values = {question.id: (question.corpus, value) for question, value in suite.values(ours, metric)}
    rows = []
    for adapter in others:
        pairs = [
            (question.corpus, values[question.id][1] - value)
            for question, value in suite.values(adapter, metric)
        ]
        rows.append([adapter, _interval(_clustered(pairs))])
    if suite_name == Suite.SEMBLE_ROOT:
        for method in _published_methods(results):
            figures = {corpus: published[method] for corpus, published in results.published.items()}
            known = [(corpus, value) for corpus, value in values.values() if corpus in figures]
            mean = statistics.mean(figures[corpus] for corpus, _ in known)
            pairs = [(corpus, value - figures[corpus]) for corpus, value in known]
            rows.append([f"{method}, published {_number(mean)}", _interval(_clustered(pairs))])
    return markdown_table([f"{metric}: {ours} less", "difference, 95 % interval"], rows)


def _cost_table(suite: SuiteResults) -> str:
    """Return what each adapter took over all corpora; times of one run only, so compare within the table."""
    seconds = {
        adapter: sum(costs.index_seconds for costs in by_corpus.values())
        for adapter, by_corpus in suite.costs.items()
    }
    semble_seconds = seconds.get("semble-timing", seconds.get("semble"))
    rows = []
    for adapter, by_corpus in suite.costs.items():
        costs = by_corpus.values()
        times = sorted(value for _, value in suite.values(adapter, "ms search"))
        edits = [each.edit_milliseconds for each in costs if each.edit_milliseconds is not None]
        looks = [each.look_milliseconds for each in costs if each.look_milliseconds is not None]
        rows.append(
            [
                adapter,
                str(sum(each.chunks for each in costs)),
                f"{seconds[adapter]:.1f}",
                f"{seconds[adapter] / semble_seconds:.2f}" if semble_seconds else "-",
                f"{sum(each.index_bytes for each in costs) / MEBIBYTE:.1f}",
                f"{max(each.resident_bytes for each in costs) / MEBIBYTE:.0f}",
                f"{max(each.child_resident_bytes for each in costs) / MEBIBYTE:.0f}",
                f"{quantile(times, 0.5):.1f}",
                f"{quantile(times, 0.95):.1f}",
                f"{statistics.median(looks):.0f}" if looks else "-",
                f"{statistics.median(edits):.0f}" if edits else "-",
            ]
        )
    return markdown_table(
        [
            "",
            "chunks",
            "index s",
            "÷ semble",
            "index MiB",
            "peak MiB",
            "its child",
            "query p50 ms",
            "p95 ms",
            "look ms",
            "edit ms",
        ],
        rows,
    )


def _published_methods(results: Results) -> list[str]:
    return list(next(iter(results.published.values()), {}))


def _by_group(values: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for group, value in values:
        groups[group].append(value)
    return dict(groups)


def _clustered(pairs: Iterable[tuple[str, float]]) -> Interval | None:
    return mean_interval(list(_by_group(pairs).values()))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which that share of the ordered values lies, 0 for none."""
    return ordered[round(share * (len(ordered) - 1))] if ordered else 0.0


def _share(values: Sequence[float]) -> str:
    return _number(statistics.mean(values)) if values else "-"


def _number(value: float) -> str:
    """Return three digits, without the zero before the point."""
    return f"{value:.3f}".replace("0.", ".", 1)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column names its rows and whose others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
