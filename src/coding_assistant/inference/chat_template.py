"""The prompt format of a file's own chat template, learnt from how it writes a few words down.

The template is run once, apart and bounded (``template_process``), on texts of ours: no message ever passes
through it, so that none can bend it, and the engine never sees it.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import anyio
from pydantic import BaseModel, ValidationError

from coding_assistant.child_process import child_environment
from coding_assistant.domain import Message, Role
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.prompt_format import (
    AUTO,
    FAMILIES,
    LLAMA3,
    Control,
    PromptFormat,
    Text,
    markup_in,
)

# Starting takes 0.2 s, on a machine with much else to do a few seconds; the process limits itself beyond.
_PATIENCE_SECONDS: Final = 30.0
_COMMAND: Final = (sys.executable, "-P", "-m", "coding_assistant.inference.template_process")
_LONGEST_TEMPLATE: Final = 1_000_000  # characters; the longest in use have 17,000
_LONGEST_COMPLAINT: Final = 200  # it may quote a name, and a name may be as long as the template

# Ordinary words, so that no template changes them, between tabs, which show whether it strips the texts: no
# template writes tabs itself.
_EDGE: Final = "\t"
_SYSTEM: Final = "SentinelOfTheSystemText"
_QUESTIONS: Final = ("SentinelOfQuestionOne", "SentinelOfQuestionTwo", "SentinelOfQuestionThree")
_ANSWERS: Final = ("SentinelOfAnswerOne", "SentinelOfAnswerTwo")


def _probe(role: Role, word: str) -> Message:
    return Message(role, _EDGE + word + _EDGE)


_TALK: Final = (
    _probe(Role.USER, _QUESTIONS[0]),
    _probe(Role.ASSISTANT, _ANSWERS[0]),
    _probe(Role.USER, _QUESTIONS[1]),
    _probe(Role.ASSISTANT, _ANSWERS[1]),
    _probe(Role.USER, _QUESTIONS[2]),
)
_WITH_SYSTEM: Final = (_probe(Role.SYSTEM, _SYSTEM), *_TALK)
# What a template without a system role is given: the first question begins with the system text.
_JOINED: Final = Message(Role.USER, f"{_WITH_SYSTEM[0].text}\n{_TALK[0].text}")
PROBES: Final = (_TALK, _WITH_SYSTEM[:2], (_JOINED,), _WITH_SYSTEM)


@dataclass(frozen=True, slots=True)
class Renderings:
    """How a template writes ``PROBES`` down, None for what it refuses.

    ``talk`` has no system text, ``opened`` has one before a single question, ``joined`` has it within that
    question, and ``whole`` has all.
    """

    talk: str | None
    opened: str | None
    joined: str | None
    whole: str | None


class _Answer(BaseModel):
    rendered: tuple[str | None, str | None, str | None, str | None] | None = None
    complaint: str = ""


async def read_template(template: str, variables: Mapping[str, object]) -> Renderings:
    """Run a template on the probes, in a process of its own, with such variables as ``bos_token``.

    Raises ``InvalidModel`` when it is no template, or does not end.
    """
    if len(template) > _LONGEST_TEMPLATE:
        raise _unusable(f"it has {len(template):,} characters")
    conversations = [
        [{"role": message.role.value, "content": message.text} for message in probe] for probe in PROBES
    ]
    request = {"template": template, "conversations": conversations, "variables": dict(variables)}
    try:
        with anyio.fail_after(_PATIENCE_SECONDS):
            done = await anyio.run_process(
                _COMMAND, input=json.dumps(request).encode(), check=False, env=child_environment(os.environ)
            )
        answer = _Answer.model_validate_json(done.stdout)
    except (TimeoutError, ValidationError):
        raise _unusable("it does not come to an end, or needs too much memory") from None
    if answer.rendered is None:
        raise _unusable(answer.complaint[:_LONGEST_COMPLAINT])
    return Renderings(*answer.rendered)


def derived_format(renderings: Renderings, controls: Sequence[str], *, beginning: str = "") -> PromptFormat:
    """Return the format of a template: one of the families where it writes as that does.

    ``controls`` are the tokens of the vocabulary that may be structure; what else looks like markup in the
    template is a marker. ``beginning`` is the token that begins every text (BOS). Raises ``InvalidModel``
    when the template drops, repeats or reorders messages, or writes one turn otherwise than another.
    """
    if renderings.talk is None:
        raise _unusable("it refuses questions and answers that take turns")
    talk = _pieces(renderings.talk, (_QUESTIONS[0], _ANSWERS[0], _QUESTIONS[1], _ANSWERS[1], _QUESTIONS[2]))
    first_question, given, after_answer, given_later, after_later, asked = talk.between
    if (given, after_answer) != (given_later, after_later):
        raise _unusable("it writes one turn otherwise than another")
    start = _start(renderings)
    opening, system_to_question, asked_first = start.between
    if asked_first != asked:
        raise _unusable("it writes one turn otherwise than another")
    question_to_answer, lead, cue = _apart(given, asked)
    literals = (opening, system_to_question, first_question, given, after_answer, asked)
    used, markers = _structure(literals, controls)
    derived = PromptFormat(
        name=AUTO,
        opening=opening,
        system_to_question=system_to_question,
        first_question=first_question,
        question_to_answer=question_to_answer,
        answer_to_question=after_answer,
        controls=used,
        answer_lead=lead,
        cue=cue,
        markers=markers,
        stop=() if any(name in after_answer for name in used) else _structure((after_answer,), used)[1][:1],
        trims=frozenset(
            role
            for role, is_stripped in zip(
                (Role.SYSTEM, Role.USER, Role.ASSISTANT),
                (start.stripped[0], talk.stripped[0], talk.stripped[1]),
                strict=True,
            )
            if is_stripped
        ),
    )
    _require_whole(derived, renderings.whole)
    return _family(derived, beginning) or derived


@dataclass(frozen=True, slots=True)
class _Pieces:
    """What stands before, between and after the sentinels, and of which of them the tabs are gone."""

    between: tuple[str, ...]
    stripped: tuple[bool, ...]


def _pieces(rendering: str, sentinels: Sequence[str]) -> _Pieces:
    between: list[str] = []
    stripped: list[bool] = []
    rest = rendering
    for sentinel in sentinels:
        before, found, rest = rest.partition(sentinel)
        if not found or sentinel in rest:
            raise _unusable("it does not write a conversation down in order")
        stripped.append(not before.endswith(_EDGE) and not rest.startswith(_EDGE))
        between.append(before)
    return _Pieces(tuple(piece.strip(_EDGE) for piece in (*between, rest)), tuple(stripped))


def _start(renderings: Renderings) -> _Pieces:
    """Return the pieces around a system text and the first question.

    Without a system role, the system text is the beginning of the question.
    """
    for rendering in (renderings.opened, renderings.joined):
        if rendering is not None and _SYSTEM in rendering:
            return _pieces(rendering, (_SYSTEM, _QUESTIONS[0]))
    raise _unusable("it does not write a system text down")


def _apart(given: str, asked: str) -> tuple[str, str, str]:
    """Return what both have in front, and the rest of each: where an answer stands, where one is asked for.

    The front is all of one or nothing, for a cut anywhere else might go through a token.
    """
    if given.startswith(asked):
        return asked, given.removeprefix(asked), ""
    if asked.startswith(given):
        return given, "", asked.removeprefix(given)
    return "", given, asked


def _structure(literals: Sequence[str], controls: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the control tokens in a template's literals, and the markup that is no control token."""
    # Apart, because what stands at the end of one and the start of the next is no markup.
    text = "\n".join(literals)
    used = tuple(control for control in controls if control and control in text)
    for control in sorted(used, key=len, reverse=True):
        text = text.replace(control, "\n")
    return used, markup_in(text)


def _require_whole(derived: PromptFormat, whole: str | None) -> None:
    """Refuse a template that writes a long conversation otherwise than its parts.

    One that has no system role, or moves the system text on to the newest question, is excused: here it stays
    before the first, so that what was read stays read.
    """
    if whole is None or _SYSTEM not in whole or whole.index(_SYSTEM) > whole.index(_QUESTIONS[0]):
        return
    words = [replace(message, text=message.text.strip()) for message in _WITH_SYSTEM]
    if "".join(_texts(derived, words)) != whole.replace(_EDGE, ""):
        raise _unusable("it writes one turn otherwise than another")


def _texts(derived: PromptFormat, messages: Sequence[Message]) -> Iterator[str]:
    for segment in (segment for stretch in derived.stretches(messages) for segment in stretch):
        if isinstance(segment, Control):
            yield segment.name
        elif isinstance(segment, Text):
            yield segment.text


_LLAMA3_DATES: Final = re.compile(r"Cutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\n\n$")


def _family(derived: PromptFormat, beginning: str) -> PromptFormat | None:
    """Return the family whose conversations are written as this format's: with a system text, always."""
    opening = derived.opening.removeprefix(beginning)
    for family in FAMILIES.values():
        if family is LLAMA3:
            opening = _LLAMA3_DATES.sub("", opening)
        alike = replace(
            derived,
            name=family.name,
            opening=opening,
            first_question=family.first_question,
            controls=family.controls,
            markers=family.markers,
            stop=family.stop,
        )
        if alike == family:
            return family
    return None


def _unusable(reason: str) -> InvalidModel:
    return InvalidModel(
        f"The chat template of the model cannot be used: {reason}.",
        hint=f"Set prompt_format of this model to one of {', '.join(FAMILIES)}.",
    )
