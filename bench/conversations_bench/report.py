"""Tables of the conversations' results, in Markdown."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from conversations_bench.course import After
from conversations_bench.results import OURS, Measured, Results
from retrieval_bench.report import markdown_table, quantile

MEBIBYTE = 2**20
COLD = (After.OTHERS, After.RESTART)
LONG_HISTORY_TOKENS = range(3_000, 6_001)
"""A rival's prompt of about 4,000 tokens."""

_FOLLOW_UPS = (After.SAME, After.OTHERS, After.RESTART)


def summary(results: Results) -> str:
    """Return all tables."""
    given = "".join(f", {name}={value}" for name, value in results.settings.items())
    head = (
        f"Commit {results.commit}, {results.engine}, {results.model}, {results.project};"
        f" context {results.context_tokens:,}, answers of at most {results.answer_tokens} tokens,"
        f" {results.threads} threads{given}."
    )
    tables = {
        "Time to the first token, seconds": _first_token_table(results),
        "Tokens": _token_table(results),
        "Follow-ups after others or a restart": _cold_table(results),
        "Bars": _bars(results),
        "Memory and disk, MiB": _memory_table(results),
    }
    return "\n\n".join((head, *(f"### {title}\n\n{table}" for title, table in tables.items())))


def spread(values: Iterable[float], *, digits: int = 2) -> str:
    """Return the middle and the 95th of a hundred, or a dash for no values."""
    known = sorted(values)
    if not known:
        return "-"
    return f"{statistics.median(known):.{digits}f} / {quantile(known, 0.95):.{digits}f}"


def ratio_to_ours(results: Results, arm: str, *, long_history: bool) -> list[float]:
    """Return, for each follow-up after others or a restart, the arm's time to the first token over ours.

    With ``long_history`` only those for which the arm was sent about 4,000 tokens.
    """
    ours = {(each.round, each.step): each for each in results.of(OURS, after=COLD)}
    return [
        theirs.first_token_seconds / ours[theirs.round, theirs.step].first_token_seconds
        for theirs in results.of(arm, after=COLD)
        if (theirs.round, theirs.step) in ours
        and (not long_history or theirs.prompt_tokens in LONG_HISTORY_TOKENS)
    ]


def read_per_new(results: Results) -> list[float]:
    """Return, for each follow-up of ours that compacted nothing, what was read over what the turn added."""
    return [
        each.read_tokens / each.new_tokens
        for each in results.of(OURS, after=_FOLLOW_UPS)
        if each.new_tokens and each.new_tokens > 0
    ]


def _first_token_table(results: Results) -> str:
    rows = []
    for arm in results.arms():
        first = [
            spread(each.first_token_seconds for each in results.of(arm, after=[after])) for after in After
        ]
        whole = spread(each.total_seconds for each in results.of(arm))
        ready = spread((each.seconds for each in results.restarts if each.arm == arm), digits=1)
        rows.append([arm, *first, whole, ready])
    return markdown_table(["p50 / p95", *After, "whole answer", "ready after a restart"], rows)


def _token_table(results: Results) -> str:
    columns: dict[str, Callable[[Measured], int]] = {
        "prompt": lambda each: each.prompt_tokens,
        "read": lambda each: each.read_tokens,
        "cached": lambda each: each.cached_tokens,
        "written": lambda each: each.written_tokens,
    }
    rows = [
        [arm]
        + [spread((value(each) for each in results.of(arm)), digits=0) for value in columns.values()]
        + [f"{sum(each.read_tokens for each in results.of(arm)):,}"]
        for arm in results.arms()
    ]
    return markdown_table(["p50 / p95", *columns, "read in all"], rows)


def _cold_table(results: Results) -> str:
    """Return each follow-up by its step: prompt, read and seconds in every arm, medians over the rounds."""
    steps = dict.fromkeys(each.step for each in results.of(OURS, after=COLD))
    after = {each.step: each.after for each in results.of(OURS)}
    compacted = {each.step for each in results.of(OURS) if each.compacted}
    rows = []
    for step in steps:
        row = [step, after[step] + (", compacted" if step in compacted else "")]
        for arm in results.arms():
            of_step = [each for each in results.of(arm) if each.step == step]
            row += [_middle(of_step)]
        rows.append(row)
    return markdown_table(["", "after", *(f"{arm}: prompt, read, s" for arm in results.arms())], rows)


def _middle(measured: Sequence[Measured]) -> str:
    if not measured:
        return "-"
    prompt = statistics.median(each.prompt_tokens for each in measured)
    read = statistics.median(each.read_tokens for each in measured)
    seconds = statistics.median(each.first_token_seconds for each in measured)
    return f"{prompt:,.0f}, {read:,.0f}, {seconds:.2f}"


def _bars(results: Results) -> str:
    """Return what the product is held to; the worst is that of the side which the bar is on."""
    rows = []
    for arm in results.arms():
        if arm != OURS:
            for long_history, where in ((True, ", about 4,000 tokens"), (False, ", all")):
                ratios = ratio_to_ours(results, arm, long_history=long_history)
                title = f"first token of a follow-up, {arm} over ours{where} ({len(ratios)})"
                rows.append([title, spread(ratios), _worst(ratios, min), "≥ 10"])
    fresh = read_per_new(results)
    own = [1_000 * each.own_seconds for each in results.of(OURS)]
    speed = [pair.ours_per_second / pair.bare_per_second for pair in results.decoding]
    rows += [
        [
            f"read over the turn's new tokens ({len(fresh)})",
            spread(fresh, digits=3),
            _worst(fresh, max),
            "≤ 1.02",
        ],
        ["our own share of the first token, ms", spread(own, digits=0), _worst(own, max), "p95 ≤ 50"],
        [
            f"tokens a second, ours over bare ({len(speed)})",
            spread(speed, digits=3),
            _worst(speed, min),
            "≥ 0.97",
        ],
    ]
    return markdown_table(["", "p50 / p95", "worst", "bar"], rows)


def _worst(values: Sequence[float], of: Callable[[Iterable[float]], float]) -> str:
    return f"{of(values):.2f}" if values else "-"


def _memory_table(results: Results) -> str:
    rows = [
        [
            arm,
            *(
                f"{max(sizes) / MEBIBYTE:.0f}"
                for sizes in (
                    [each.service_bytes for each in results.of(arm)],
                    [each.engine_bytes for each in results.of(arm)],
                    [each.snapshot_bytes for each in results.of(arm)],
                )
            ),
        ]
        for arm in results.arms()
    ]
    return markdown_table(["most", "service", "engine", "snapshots"], rows)
