"""The model in use: it is loaded, given a conversation to encode, asked something, and measured."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from coding_assistant.cli.doctor.findings import Check, Fact, Finding, Verdict
from coding_assistant.cli.doctor.models import ReadFormat
from coding_assistant.cli.first_question import first_answer
from coding_assistant.cli.rendering import count, duration
from coding_assistant.domain import (
    EngineInfo,
    Finish,
    GenerationEnded,
    Message,
    ModelSpec,
    ReasoningPiece,
    Role,
    TextPiece,
)
from coding_assistant.errors import EngineFailed
from coding_assistant.inference.encoding import guarded_tokens
from coding_assistant.inference.engine_speeds import measure
from coding_assistant.inference.prompt_format import Control
from coding_assistant.inference.reading_speed import FEWEST_SOURCE_TOKENS, ReadingSpeeds
from coding_assistant.inference.remote_address import RemoteAddress
from coding_assistant.protocols import Engine

QUESTION = "What is 2+2? Answer with one number."

_SHOWN_CHARACTERS = 60
_SLOW = 0.6
"""Of the usual speed: readings on one quiet machine differ by a tenth, beside another program by a third."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried: an engine with its model's entry, and the prompt format, if the model is run here."""

    engine: Engine
    spec: ModelSpec
    read_format: ReadFormat | None = None


def server(spec: ModelSpec, info: EngineInfo) -> Finding:
    """Tell what a server elsewhere says of the model, and who can read what is sent there."""
    address = RemoteAddress.parse(spec.address)
    counted = "counted by it" if info.counts_exactly else "estimated here, for it does not count them"
    detail = (
        f"{info.model} at {address.base}: {info.context_tokens:,} tokens of context, {counted}; questions and"
        f" code go to {address.host}"
    )
    facts: dict[str, Fact] = {
        "address": address.base,
        "host": address.host,
        "is_encrypted": address.is_encrypted,
        "context_tokens": info.context_tokens,
        "counts_exactly": info.counts_exactly,
    }
    if not (address.is_near or address.is_encrypted):
        advice = "Anybody on the way can read it: give openai_base_url an address that begins with https."
        return Finding(Check.SERVER, Verdict.WARN, detail, advice, facts)
    return Finding(Check.SERVER, Verdict.TIP if info.notice else Verdict.OK, detail, info.notice, facts)


async def load(subject: Subject) -> Finding:
    """Load the model and tell by what, how long it took, and what is really on a GPU."""
    began = time.monotonic()
    info = await subject.engine.load()
    seconds = time.monotonic() - began
    facts: dict[str, Fact] = {
        "seconds": round(seconds, 2),
        "program": info.program,
        "version": info.program_version,
        "context_tokens": info.context_tokens,
        "slots": info.slots,
        "layers": info.layers,
        "offloaded_layers": info.offloaded_layers,
    }
    by = f" by the {info.program} engine" if info.program else ""
    detail = f"in {duration(seconds)}{by}: {'; '.join(_told(info))}"
    told_before = subject.spec.notice
    notice = info.notice.removeprefix(told_before).strip()
    verdict = Verdict.WARN if notice else Verdict.OK
    return Finding(Check.LOAD, verdict, detail, notice, facts)


def _told(info: EngineInfo) -> list[str]:
    told = [f"{count(info.slots, 'slot')} of {info.context_tokens:,} tokens"]
    if info.memory is not None and info.memory.reduction:
        told.append(info.memory.reduction)
    if info.layers:
        some = f"{info.offloaded_layers} of {info.layers} layers" if info.offloaded_layers else "no layer"
        told.append(f"{some} on a GPU")
    return told


async def round_trip(engine: Engine, read: ReadFormat) -> Finding:
    """Encode a conversation that quotes every control token of the format, and count those in the prompt."""
    found, vocabulary = read.prompt_format, read.vocabulary
    quoted = f"What do {' '.join((*found.controls, *found.markers))} mean?"
    messages = [
        Message(Role.SYSTEM, "You answer in one word."),
        Message(Role.USER, quoted),
        Message(Role.ASSISTANT, f"{quoted} Structure."),
        Message(Role.USER, quoted),
    ]
    expected = [
        segment.name
        for stretch in found.stretches(messages)
        for segment in stretch
        if isinstance(segment, Control)
    ]
    tokens = await engine.encode(messages)
    structure = frozenset(guarded_tokens(vocabulary)) | {
        number for number, name in enumerate(vocabulary.tokens) if name in found.controls
    }
    seen = [vocabulary.tokens[token] for token in tokens if token in structure]
    return _compared(seen, expected, beginning=vocabulary.beginning, tokens=len(tokens))


def _compared(seen: Sequence[str], expected: Sequence[str], *, beginning: str, tokens: int) -> Finding:
    """Compare a prompt's control tokens with the format's: before them stands at most BOS."""
    facts: dict[str, Fact] = {
        "tokens": tokens,
        "control_tokens": len(seen),
        "expected_control_tokens": len(expected),
    }
    if list(seen) in (list(expected), [beginning, *expected]):
        ends = f", {seen[0]} to {seen[-1]}" if seen else ""
        structure = f"{count(len(seen), 'control token')}{ends}"
        detail = f"{count(tokens, 'token')}, among them the format's {structure}, and none of those quoted"
        return Finding(Check.ROUND_TRIP, Verdict.OK, detail, facts=facts)
    detail = (
        f"the prompt has {count(len(seen), 'control token')} ({' '.join(seen)}), the format has"
        f" {len(expected)} ({' '.join(expected)})"
    )
    advice = "Answers may go astray: set prompt_format of this model to its own family, or choose another."
    return Finding(Check.ROUND_TRIP, Verdict.FAIL, detail, advice, facts)


async def answer(subject: Subject) -> Finding:
    """Ask something tiny, with no text that would cut the answer: it has to end by the model's own token."""
    engine, read = subject.engine, subject.read_format
    text, is_thinking, ended = "", False, None
    async with aclosing(first_answer(engine, question=QUESTION)) as events:
        async for event in events:
            match event:
                case TextPiece():
                    text += event.text
                case ReasoningPiece():
                    is_thinking = True
                case GenerationEnded():
                    ended = event
                case _:
                    pass
    if ended is None:
        raise EngineFailed("The engine ended without an answer.", hint="Try another model.")
    if is_thinking and not text.strip() and ended.finish is Finish.LENGTH:
        return _thinking(ended)
    return _judged(text, ended, end=read.end if read else "")


def _thinking(ended: GenerationEnded) -> Finding:
    """Return that the model works, though what it would say is not known: some think for thousands."""
    facts: dict[str, Fact] = {
        "question": QUESTION,
        "answer": "",
        "written_tokens": ended.written_tokens,
        "finish": ended.finish.value,
    }
    detail = f"asked {QUESTION!r}, it thinks, and was not done after {ended.written_tokens} tokens"
    return Finding(Check.ANSWER, Verdict.OK, detail, facts=facts)


def _judged(text: str, ended: GenerationEnded, *, end: str) -> Finding:
    said = " ".join(text.split())
    shown = f"{said[:_SHOWN_CHARACTERS]}…" if len(said) > _SHOWN_CHARACTERS else said
    facts: dict[str, Fact] = {
        "question": QUESTION,
        "answer": text,
        "written_tokens": ended.written_tokens,
        "finish": ended.finish.value,
    }
    detail = f"asked {QUESTION!r}, it says {shown!r}"
    if ended.finish is Finish.COMPLETE and said:
        by = f" (its end token, {end})" if end else ""
        return Finding(Check.ANSWER, Verdict.OK, f"{detail} and ends by itself{by}", facts=facts)
    if not said:
        advice = "Set prompt_format of this model to its own family, or choose another model."
        return Finding(Check.ANSWER, Verdict.FAIL, f"asked {QUESTION!r}, it says nothing", advice, facts)
    advice = (
        "It rambles, as small models do, or does not know its end token: set prompt_format of this model to"
        " its own family, or stop_tokens to what its answers should end at."
    )
    unended = f"{detail} and is still writing after {ended.written_tokens} tokens"
    return Finding(Check.ANSWER, Verdict.WARN, unended, advice, facts)


async def speed(subject: Subject, speeds_file: Path, *, first_token_seconds: float) -> Finding:
    """Measure how fast the model reads and writes, beside what answers measured here before."""
    measured = await measure(subject.engine)
    usual = ReadingSpeeds(speeds_file).of(subject.spec.name)
    facts: dict[str, Fact] = {
        "reading_tokens_per_second": measured.reading,
        "writing_tokens_per_second": measured.writing,
        "usual_reading_tokens_per_second": usual,
    }
    before = f"; answers have read {usual:.0f} a second here before" if usual else ""
    detail = f"reads {measured.reading:.0f} and writes {measured.writing:.0f} tokens a second{before}"
    if usual and measured.reading < _SLOW * usual:
        advice = "Something else keeps the processor busy, or it is throttled: try again when it is quiet."
        return Finding(Check.SPEED, Verdict.WARN, detail, advice, facts)
    fewest_seconds = FEWEST_SOURCE_TOKENS / measured.reading
    if fewest_seconds > first_token_seconds:
        advice = (
            f"A first answer begins after about {duration(fewest_seconds)}: choose a smaller model"
            " (`coding-assistant models list`), or try again when nothing else is running."
        )
        return Finding(Check.SPEED, Verdict.WARN, detail, advice, facts)
    return Finding(Check.SPEED, Verdict.OK, detail, facts=facts)
