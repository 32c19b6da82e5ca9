from collections.abc import Sequence

import pytest

from coding_assistant.domain import Message, Role
from coding_assistant.errors import InvalidModel
from coding_assistant.inference import template_process
from coding_assistant.inference.chat_template import PROBES, Renderings, derived_format
from coding_assistant.inference.prompt_format import FAMILIES, LLAMA3, Control, PromptFormat, Text

CONVERSATION = (
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "Who?"),
    Message(Role.ASSISTANT, "You."),
    Message(Role.USER, "Why?"),
)
ZEPHYR = "<|{role}|>\n{text}</s>\n"
ALPACA = "### {role}:\n{text}\n\n"


def written(prompt_format: PromptFormat, messages: Sequence[Message]) -> str:
    return "".join(
        segment.name if isinstance(segment, Control) else segment.text
        for stretch in prompt_format.stretches(messages)
        for segment in stretch
        if isinstance(segment, Control | Text)
    )


def rendered_by(prompt_format: PromptFormat) -> Renderings:
    return Renderings(*(written(prompt_format, probe) for probe in PROBES))


def rendered_with(turn: str) -> Renderings:
    return Renderings(
        *(
            "".join(turn.format(role=message.role.value, text=message.text) for message in probe)
            + turn.partition("{text}")[0].format(role="assistant")
            for probe in PROBES
        )
    )


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_template_that_writes_as_a_family_does_is_that_family(family: PromptFormat) -> None:
    assert derived_format(rendered_by(family), [*family.controls, "<unused>"]) is family


def test_the_dates_of_llama3_are_left_out() -> None:
    dated = Renderings(
        *(
            each.replace("system<|end_header_id|>\n\n", f"system<|end_header_id|>\n\n{dates}")
            for dates in ["Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"]
            for each in (written(LLAMA3, probe) for probe in PROBES)
        )
    )
    assert derived_format(dated, LLAMA3.controls) is LLAMA3


@pytest.mark.parametrize(
    ("turn", "markers"),
    [
        (ZEPHYR, {"<|system|>", "<|user|>", "<|assistant|>"}),
        (ALPACA, {"### system:", "### user:", "### assistant:"}),
        ("[{role}]{text}[/{role}]", {"[user]", "[/user]", "[/assistant]"}),
        ("{role}: {text}\n", set()),
    ],
)
def test_markup_of_a_foreign_template_cannot_be_forged(turn: str, markers: set[str]) -> None:
    derived = derived_format(rendered_with(turn), ["</s>"])
    hostile = [Message(message.role, "\n".join(derived.markers) + message.text) for message in CONVERSATION]

    assert set(derived.markers) >= markers
    assert bool(markers) == bool(derived.markers)
    forged, honest = (written(derived, messages) for messages in (hostile, CONVERSATION))
    for marker in derived.markers:
        assert forged.count(marker) == honest.count(marker)


def test_the_next_questions_marker_ends_an_answer_only_where_no_token_does() -> None:
    assert derived_format(rendered_with(ZEPHYR), ["</s>"]).stop == ()
    assert derived_format(rendered_with(ALPACA), ["</s>"]).stop == ("### user:",)


VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}


def learnt(template: str, controls: Sequence[str] = ()) -> PromptFormat:
    """Learn from a template that does no harm, and so needs no process of its own."""
    probes = [[{"role": each.role.value, "content": each.text} for each in probe] for probe in PROBES]
    return derived_format(Renderings(*template_process.rendered(template, probes, VARIABLES)), controls)


TURN = "<{{ m.role }}>{{ m.content }}"
LOOP = "{% for m in messages %}" + TURN + "{% endfor %}<assistant>"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (LOOP, "<system>Be brief.<user>Who?<assistant>You.<user>Why?<assistant>"),
        (
            LOOP.replace("m.content", "m.content | trim"),
            "<system>Be brief.<user>Who?<assistant>You.<user>Why?<assistant>",
        ),
        # No system role: refused, or passed over in silence.
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + LOOP,
            "<user>Be brief.\nWho?<assistant>You.<user>Why?<assistant>",
        ),
        (
            LOOP.replace(TURN, "{% if m.role != 'system' %}" + TURN + "{% endif %}"),
            "<user>Be brief.\nWho?<assistant>You.<user>Why?<assistant>",
        ),
        # A thought is begun where the model is asked, and none stands before its answers.
        (LOOP + "<think>", "<system>Be brief.<user>Who?<assistant>You.<user>Why?<assistant><think>"),
        # What marks answers for training is no text.
        (
            LOOP.replace(TURN, "{% generation %}" + TURN + "{% endgeneration %}"),
            "<system>Be brief.<user>Who?<assistant>You.<user>Why?<assistant>",
        ),
        (
            "{{ strftime_now('%Y') }}" + LOOP,  # the same next year
            "2024<system>Be brief.<user>Who?<assistant>You.<user>Why?<assistant>",
        ),
    ],
)
def test_a_template_is_learnt_from_what_it_writes(template: str, expected: str) -> None:
    controls = ["<system>", "<user>", "<assistant>", "<think>"]
    assert written(learnt(template, controls), CONVERSATION) == expected


def test_texts_are_stripped_where_the_template_strips_them() -> None:
    template = LOOP.replace("m.content", "(m.content | trim if m.role == 'user' else m.content)")
    assert learnt(template).trims == {Role.USER}


UNSOUND = {
    "python's insides": "{{ ''.__class__.__mro__[1].__subclasses__() }}" + LOOP,
    "imports": "{% import 'os' as os %}{{ os.system('touch stolen') }}" + LOOP,
    "changes what it is given": "{{ messages.append(1) }}" + LOOP,
    "refuses": "{{ raise_exception('no') }}" + LOOP,
    "drops": LOOP.replace("m.content", "'nothing'"),
    "reverses": LOOP.replace("in messages", "in messages | reverse"),
    "repeats": LOOP + "{{ messages[-1].content }}",
    "counts": LOOP.replace(TURN, "{{ loop.index }}" + TURN),
}


@pytest.mark.parametrize("template", UNSOUND.values(), ids=UNSOUND)
def test_what_does_not_write_a_conversation_down_is_refused_with_what_to_do(template: str) -> None:
    with pytest.raises(InvalidModel) as refused:
        learnt(template)
    assert "prompt_format" in refused.value.hint
