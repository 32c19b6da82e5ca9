"""The command ``doctor``, and how its findings are written: each as soon as it is known."""

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import typer

from coding_assistant.cli.doctor.findings import Check, Finding, Verdict
from coding_assistant.cli.exits import ExitCode
from coding_assistant.cli.options import JsonOption, ModelOption, ProjectOption, chosen_folder
from coding_assistant.cli.progress import progress_line
from coding_assistant.cli.rendering import count
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output

_STYLES = {Verdict.OK: "green", Verdict.TIP: "cyan", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
_VERDICT_CELLS = max(map(len, Verdict)) + 2
_NAME_CELLS = max(map(len, Check)) + 2
_NARROWEST_TEXT = 30
_FULL_HINT = "`coding-assistant doctor --full` also loads the model, tries it and measures its speed."

_COMMAND = re.compile(r"`[^`]*`")
_UNBROKEN_SPACE = "\0"  # no text of ours holds one


def doctor(
    *,
    project: ProjectOption = None,
    model: ModelOption = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Also load the model and try it, and check a download's SHA-256."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what works here and what to do about the rest."""
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.cli.doctor.examination import Examination  # noqa: PLC0415

    output, side = standard_output(), standard_error()
    findings = []
    with progress_line(side) as bar:
        examination = Examination(chosen_folder(project), model_name=model, is_full=full, tell=bar.show)
        for finding in examination.findings():
            findings.append(finding)
            if not as_json:
                bar.clear()
                _print(output, finding)
    if as_json:
        output.json([_as_json(finding) for finding in findings])
    else:
        _print_summary(output, findings, is_full=full)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise typer.Exit(ExitCode.NOT_READY)


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "what": finding.check.value,
        "verdict": finding.verdict.value,
        "detail": finding.detail,
        "advice": finding.advice,
        "facts": dict(finding.facts),
    }


def _print(output: Screen, finding: Finding) -> None:
    verdict = Span(f"{finding.verdict:<{_VERDICT_CELLS}}", _STYLES[finding.verdict])
    name = f"{finding.check:<{_NAME_CELLS}}"
    margin = " " * (_VERDICT_CELLS + _NAME_CELLS)
    first, *others = _lines(output, finding.detail, width=output.width - len(margin))
    output.line(verdict, name, first)
    for line in others:
        output.line(margin, line)
    if finding.advice:
        arrow = output.glyph("→ ", "> ")
        for number, line in enumerate(_lines(output, finding.advice, width=output.width - len(margin) - 2)):
            output.line(margin, Span((" " * 2 if number else arrow) + line, "bold"))


def _lines(output: Screen, text: str, *, width: int) -> list[str]:
    """Return the text in lines for a person; into a pipe or a file each paragraph goes on one."""
    return [line for paragraph in text.splitlines() for line in _wrapped(output, paragraph, width)] or [""]


def _wrapped(output: Screen, text: str, width: int) -> list[str]:
    if not output.is_terminal or width < _NARROWEST_TEXT:
        return [text]
    # A command is there to be copied: it is not cut in two, nor is a path.
    whole = _COMMAND.sub(lambda command: command[0].replace(" ", _UNBROKEN_SPACE), text)
    lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_UNBROKEN_SPACE, " ") for line in lines]


def _print_summary(output: Screen, findings: list[Finding], *, is_full: bool) -> None:
    output.line()
    output.line(_summary(findings))
    if not is_full and not any(finding.verdict is Verdict.FAIL for finding in findings):
        output.line(Span(_FULL_HINT, "dim"))


def _summary(findings: list[Finding]) -> str:
    numbers = Counter(finding.verdict for finding in findings)
    told = list(_counted(numbers))
    if numbers[Verdict.FAIL]:
        return f"Not ready: {', '.join(told)}."
    return f"Ready to answer, with {' and '.join(told)}." if told else "Ready to answer; nothing to do."


def _counted(numbers: Counter[Verdict]) -> Iterator[str]:
    if numbers[Verdict.FAIL]:
        yield count(numbers[Verdict.FAIL], "failure")
    if numbers[Verdict.WARN]:
        yield count(numbers[Verdict.WARN], "warning")
    if numbers[Verdict.TIP]:
        yield count(numbers[Verdict.TIP], "tip")
