"""Tables of answers' results, in Markdown, one run or several side by side."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from answers_bench.marks import Marks, mark
from answers_bench.questions import Question
from answers_bench.results import Answered, ArmName, Results
from retrieval_bench.intervals import mean_interval
from retrieval_bench.report import markdown_table, quantile

Values = Mapping[str, Sequence[float]]
"""Values by package: the questions of one stand and fall together."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A question, an arm's answer and its marks."""

    question: Question
    answered: Answered
    marks: Marks


@dataclass(frozen=True, slots=True)
class Column:
    """An arm of a run, under the name that it has in the tables."""

    title: str
    arm: str
    marked: Sequence[Marked]

    @property
    def answerable(self) -> list[Marked]:
        """What is about things that exist."""
        return [each for each in self.marked if not each.marks.is_absent]

    @property
    def absent(self) -> list[Marked]:
        """What is about things that do not exist."""
        return [each for each in self.marked if each.marks.is_absent]


def columns_of(runs: Mapping[str, Results]) -> list[Column]:
    """Return the arms of all the runs; the run's name is in the title where there are several."""
    return [
        Column(f"{arm} · {name}" if len(runs) > 1 else arm, arm, marked(results, arm))
        for name, results in runs.items()
        for arm in results.arms()
    ]


def marked(results: Results, arm: str) -> list[Marked]:
    """Return an arm's answers with their marks, in the order of the questions."""
    answers = results.of(arm)
    return [
        Marked(question, answers[id_], mark(question, answers[id_], results.refusals))
        for id_, question in results.questions.items()
        if id_ in answers
    ]


def summary(runs: Mapping[str, Results]) -> str:
    """Return all tables."""
    columns = columns_of(runs)
    heads = [_head(name, results) for name, results in runs.items()]
    tables = {
        "Answers": _answer_table(columns),
        "Against the gold lines with the plain prompt": _ratio_table(runs),
        "Share of facts, by kind": _group_table(columns, lambda each: each.question.kind, _facts),
        "Share of facts, by package": _group_table(columns, lambda each: each.question.package, _facts),
        "Right citations (precision), by package": _group_table(
            columns, lambda each: each.question.package, _precision
        ),
        "Cost": _cost_table(columns),
    }
    return "\n\n".join((*heads, *(f"### {title}\n\n{table}" for title, table in tables.items())))


def _head(name: str, results: Results) -> str:
    told = results.conditions
    commits = ", ".join(dict.fromkeys(each.commit for each in results.answers))
    given = "".join(f", {setting}={value}" for setting, value in told.settings.items())
    failed = f" {len(results.failures())} could not be asked." if results.failures() else ""
    return (
        f"{name}: commit {commits}, {told.engine}, {told.model}; context {told.context_tokens:,}, answers of"
        f" at most {told.answer_tokens} tokens, {told.threads} threads{given};"
        f" {len(results.questions)} questions.{failed}"
    )


def _answer_table(columns: Sequence[Column]) -> str:
    rows: dict[str, Callable[[Column], str]] = {
        "questions": lambda column: str(len(column.marked)),
        "share of facts": lambda column: _interval(_facts(column.answerable)),
        "all facts stated": lambda column: _interval(
            _shares(column.answerable, lambda each: each.marks.all_facts)
        ),
        "absent: recognised": lambda column: _count(column.absent, lambda each: each.marks.all_facts),
        "absent: flagged": lambda column: _flagged(column.absent),
        "elsewhere: words of a refusal": lambda column: _count(
            column.answerable, lambda each: each.marks.refused
        ),
        "elsewhere: refused and no fact": lambda column: _count(
            column.answerable, lambda each: each.marks.gave_up
        ),
        "elsewhere: flagged": lambda column: _flagged(column.answerable),
        "citations: precision": lambda column: _interval(_precision(column.answerable)),
        "citations: answers with a right one": lambda column: _count(
            [each for each in column.answerable if each.marks.answers], lambda each: any(each.marks.cited)
        ),
        "citations: share of gold files": lambda column: _interval(
            _by_package(
                (each.question.package, each.marks.gold_files)
                for each in column.answerable
                if each.marks.gold_files is not None
            )
        ),
        "citations: to nothing": lambda column: str(sum(each.marks.nowhere for each in column.marked)),
        "gold lines shown": lambda column: _count(
            column.answerable, lambda each: bool(each.marks.gold_shown)
        ),
    }
    return markdown_table(
        ["", *(column.title for column in columns)],
        [[title, *(cell(column) for column in columns)] for title, cell in rows.items()],
    )


def _ratio_table(runs: Mapping[str, Results]) -> str:
    """Return shares of facts over those of the gold lines with the plain prompt, on what both answered."""
    rows = []
    for name, results in runs.items():
        plain = {each.question.id: each for each in marked(results, ArmName.GOLD_PLAIN)}
        for arm in results.arms():
            pairs = [
                (each, plain[each.question.id])
                for each in marked(results, arm)
                if each.question.id in plain and not each.marks.is_absent and arm != ArmName.GOLD_PLAIN
            ]
            if not pairs:
                continue
            ours, theirs = (sum(sum(pair[side].marks.facts) for pair in pairs) for side in (0, 1))
            differences = _by_package(
                (mine.question.package, float(said) - float(given))
                for mine, other in pairs
                for said, given in zip(mine.marks.facts, other.marks.facts, strict=True)
            )
            title = f"{arm} · {name}" if len(runs) > 1 else arm
            ratio = f"{ours / theirs:.2f}" if theirs else "-"
            rows.append([title, str(len(pairs)), ratio, _interval(differences, signed=True)])
    return markdown_table(["", "questions", "ratio", "difference"], rows)


def _group_table(
    columns: Sequence[Column],
    group_of: Callable[[Marked], str],
    values_of: Callable[[Sequence[Marked]], Values],
) -> str:
    groups = dict.fromkeys(group_of(each) for column in columns for each in column.answerable)
    rows = []
    for group in groups:
        row = [str(group)]
        for column in columns:
            members = [each for each in column.answerable if group_of(each) == group]
            row.append(_mean(values_of(members)))
        rows.append(row)
    return markdown_table(["", *(column.title for column in columns)], rows)


def _cost_table(columns: Sequence[Column]) -> str:
    rows = []
    for column in columns:
        answered = [each.answered for each in column.marked]
        prompts = [each.prompt_tokens for each in answered]
        rows.append(
            [
                column.title,
                f"{statistics.mean(prompts):,.0f}" if prompts else "-",
                _spread([float(each) for each in prompts], digits=0),
                _spread([float(each.cached_tokens) for each in answered], digits=0),
                _spread([float(each.written_tokens) for each in answered], digits=0),
                _spread([each.first_token_seconds for each in answered]),
                _spread([each.total_seconds for each in answered]),
            ]
        )
    header = ["p50 / p95", "prompt tokens, mean", "prompt", "cached", "written", "first token s", "whole s"]
    return markdown_table(header, rows)


def _facts(members: Sequence[Marked]) -> Values:
    """Return each required fact as 1 or 0."""
    return _by_package((each.question.package, float(fact)) for each in members for fact in each.marks.facts)


def _precision(members: Sequence[Marked]) -> Values:
    """Return each citation as 1 or 0; one to nothing is no right one."""
    return _by_package(
        (each.question.package, float(right)) for each in members for right in each.marks.cited
    )


def _shares(members: Sequence[Marked], is_so: Callable[[Marked], bool]) -> Values:
    return _by_package((each.question.package, float(is_so(each))) for each in members)


def _by_package(pairs: Iterable[tuple[str, float]]) -> Values:
    values: dict[str, list[float]] = {}
    for package, value in pairs:
        values.setdefault(package, []).append(value)
    return values


def _count(members: Sequence[Marked], is_so: Callable[[Marked], bool]) -> str:
    """Return how many are so, of how many, and the share."""
    if not members:
        return "-"
    so = sum(map(is_so, members))
    return f"{so} of {len(members)} ({100 * so / len(members):.0f} %)"


def _flagged(members: Sequence[Marked]) -> str:
    told = [each for each in members if each.marks.flagged is not None]
    return _count(told, lambda each: bool(each.marks.flagged))


def _mean(values: Values) -> str:
    every = [value for of_package in values.values() for value in of_package]
    return f"{statistics.mean(every):.2f}" if every else "-"


def _interval(values: Values, *, signed: bool = False) -> str:
    """Return the mean of all values with its interval, where there are packages enough for one."""
    interval = mean_interval(list(values.values()))
    if interval is None:
        return _mean(values)
    figures = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{figure:+.2f}" if signed else f"{figure:.2f}" for figure in figures)
    return f"{mean} [{low}, {high}]"


def _spread(values: Sequence[float], *, digits: int = 2) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):,.{digits}f} / {quantile(sorted(values), 0.95):,.{digits}f}"
