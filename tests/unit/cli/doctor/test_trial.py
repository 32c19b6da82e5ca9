import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from coding_assistant.cli.doctor import trial
from coding_assistant.cli.doctor.findings import Finding, Verdict
from coding_assistant.cli.doctor.models import ReadFormat
from coding_assistant.cli.doctor.trial import Subject
from coding_assistant.domain import EngineInfo, Finish, Message
from coding_assistant.inference.gguf import Vocabulary
from coding_assistant.inference.prompt_format import CHATML
from coding_assistant.inference.reading_speed import this_machine
from support.model_specs import PLAIN_SPEC
from support.scripted_engine import CONTROL_TOKENS, Script, ScriptedEngine

VOCABULARY = Vocabulary(("<unk>", *CONTROL_TOKENS), (2, 3, 3), beginning="<s>")
READ = ReadFormat(CHATML, VOCABULARY)
SLOW_SECONDS = 1_000.0


def subject(engine: ScriptedEngine) -> Subject:
    return Subject(engine, PLAIN_SPEC, READ)


class Forging(ScriptedEngine):
    """Takes what a message quotes for structure."""

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return (*await super().encode(messages), CONTROL_TOKENS["<|im_start|>"])


class Graphic(ScriptedEngine):
    """Says that it has put a part of the model on a GPU, and that this is less than was wanted."""

    async def load(self) -> EngineInfo:
        notice = "n_gpu_layers asks for all: 20 of 29 layers are on a GPU."
        told = replace(await super().load(), program="native", layers=29, offloaded_layers=20, notice=notice)
        return replace(told, program_version="b11549")


def test_quoted_control_tokens_are_none_in_the_prompt() -> None:
    finding = anyio.run(trial.round_trip, ScriptedEngine(), READ)

    assert finding.verdict is Verdict.OK
    assert finding.facts["control_tokens"] == finding.facts["expected_control_tokens"] == 9
    assert "<|im_start|> to <|im_start|>" in finding.detail


def test_one_control_token_too_many_is_a_failure_that_shows_them() -> None:
    finding = anyio.run(trial.round_trip, Forging(), READ)

    assert finding.verdict is Verdict.FAIL
    assert "10 control tokens" in finding.detail
    assert finding.advice


def answer(*scripts: Script | str) -> Finding:
    return anyio.run(trial.answer, subject(ScriptedEngine(*scripts)))


def test_an_answer_that_ends_by_itself_is_as_it_should_be() -> None:
    finding = answer("4")

    assert finding.verdict is Verdict.OK
    assert "it says '4' and ends by itself (its end token, <|im_end|>)" in finding.detail


def test_an_answer_without_end_is_a_warning_and_shown_in_part() -> None:
    finding = answer(Script("Four. " * 100, finish=Finish.LENGTH))

    assert finding.verdict is Verdict.WARN
    assert "still writing after" in finding.detail
    assert len(finding.detail) < 200
    assert finding.facts["finish"] == "length"


def test_a_model_that_still_thinks_is_none_that_says_nothing() -> None:
    finding = answer(Script("", reasoning="Two and two. " * 100, finish=Finish.LENGTH))

    assert finding.verdict is Verdict.OK
    assert "it thinks, and was not done" in finding.detail


def test_no_answer_at_all_is_a_failure() -> None:
    assert answer(Script("")).verdict is Verdict.FAIL


def test_a_load_tells_what_is_really_on_a_gpu() -> None:
    finding = anyio.run(trial.load, subject(Graphic()))

    assert finding.verdict is Verdict.WARN
    assert "by the native engine" in finding.detail
    assert "20 of 29 layers on a GPU" in finding.detail
    assert "asks for all" in finding.advice
    assert finding.facts["offloaded_layers"] == 20


def speed(folder: Path, *, usual: float | None, first_token_seconds: float = SLOW_SECONDS) -> Finding:
    file = folder / "reading-speeds.json"
    if usual is not None:
        file.write_text(json.dumps({this_machine(): {PLAIN_SPEC.name: [usual]}}))

    async def measured() -> Finding:
        return await trial.speed(
            subject(ScriptedEngine("word " * 40)), file, first_token_seconds=first_token_seconds
        )

    return anyio.run(measured)


def test_speeds_are_told_beside_what_was_measured_here_before(tmp_path: Path) -> None:
    assert "before" not in speed(tmp_path, usual=None).detail
    assert "answers have read 12 a second here before" in speed(tmp_path, usual=12.0).detail


@pytest.mark.parametrize(("usual", "verdict"), [(100.0, Verdict.OK), (1e9, Verdict.WARN)])
def test_much_slower_than_usual_is_a_warning(tmp_path: Path, usual: float, verdict: Verdict) -> None:
    assert speed(tmp_path, usual=usual).verdict is verdict


def test_a_first_answer_that_is_late_is_a_warning(tmp_path: Path) -> None:
    finding = speed(tmp_path, usual=None, first_token_seconds=0.001)

    assert finding.verdict is Verdict.WARN
    assert "begins after about" in finding.advice


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("http://127.0.0.1:8080/v1", Verdict.OK),
        ("https://models.example.org/v1", Verdict.OK),
        ("http://models.example.org/v1", Verdict.WARN),
    ],
)
def test_where_code_goes_is_told(address: str, verdict: Verdict) -> None:
    info = EngineInfo("coder", 16_384, 4, counts_exactly=False)
    finding = trial.server(replace(PLAIN_SPEC, address=address), info)

    assert finding.verdict is verdict
    assert f"code go to {finding.facts['host']}" in finding.detail
    assert "estimated" in finding.detail
