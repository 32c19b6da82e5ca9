"""Answers as a person reads them: the question, what was expected, and what each arm said."""

import textwrap
from collections.abc import Iterator, Mapping

from answers_bench.marks import mark
from answers_bench.questions import Kind, Question
from answers_bench.results import Answered, Results

WIDTH = 110
INDENT = "    "


def as_text(results: Results, *, prefix: str = "", arm: str = "") -> Iterator[str]:
    """Yield every question whose id begins with the prefix with its answers, or those of one arm."""
    answers = {name: results.of(name) for name in results.arms() if arm in ("", name)}
    for id_, question in results.questions.items():
        if id_.startswith(prefix):
            said = {name: of_arm[id_] for name, of_arm in answers.items() if id_ in of_arm}
            yield "\n".join(_lines(question, said, results.refusals))


def _lines(question: Question, answers: Mapping[str, Answered], refusals: tuple[str, ...]) -> Iterator[str]:
    yield f"{question.id} ({question.kind}): {question.question}"
    yield from _indented(f"Expected: {question.answer}")
    for place in question.gold:
        yield f"{INDENT}gold {place.path}:{place.start}-{place.end}"
    for arm, answered in answers.items():
        yield ""
        yield f"  {arm}: {_verdict(question, answered, refusals)}"
        yield from _indented(answered.answer or "(no words)")
        marks = mark(question, answered, refusals)
        for cited, is_right in zip(answered.citations, marks.cited, strict=True):
            there = "right" if is_right else "wrong" if cited.text is not None else "not there"
            yield f"{INDENT}cited {cited.place.path}:{cited.place.start}-{cited.place.end}: {there}"
    yield ""


def _verdict(question: Question, answered: Answered, refusals: tuple[str, ...]) -> str:
    marks = mark(question, answered, refusals)
    missed = [
        " or ".join(fact) for fact, is_said in zip(question.facts, marks.facts, strict=True) if not is_said
    ]
    if question.kind is Kind.ABSENT:
        verdict = "recognised" if marks.all_facts else "NOT recognised"
    else:
        verdict = f"{sum(marks.facts)} of {len(marks.facts)} facts"
        verdict += "".join(f"; missed /{each}/" for each in missed)
        verdict += "; words of a refusal" if marks.refused else ""
        verdict += "" if marks.gold_shown else "; gold lines not shown"
    verdict += "; flagged as not found" if marks.flagged else ""
    return f"{verdict}; {answered.prompt_tokens:,} tokens, {answered.total_seconds:.1f} s"


def _indented(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from textwrap.wrap(
            line, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False
        ) or [""]
