from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Message, Role
from coding_assistant.errors import InvalidRequest, InvalidSetting
from coding_assistant.inference.prompt_format import (
    CHATML,
    FAMILIES,
    LLAMA2,
    LLAMA3,
    PHI3,
    Control,
    PromptFormat,
    Stretch,
    Text,
    Tokens,
    looks_like_markup,
    named_format,
)

CONVERSATION = (
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "Who?"),
    Message(Role.ASSISTANT, "You."),
    Message(Role.USER, "Why?"),
)

EXPECTED = {
    "phi3": (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\n"
        "You.<|end|>\n<|user|>\nWhy?<|end|>\n<|assistant|>\n"
    ),
    "llama2": (
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWho? [/INST] You. </s><s>[INST] Why? [/INST]"
        # the <s> that begins the whole is added by the vocabulary
    ),
    "llama3": (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYou.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
        "<|im_start|>assistant\nYou.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    ),
}

families = st.sampled_from(list(FAMILIES.values()))
names = [name for family in FAMILIES.values() for name in (*family.controls, *family.markers)]
texts = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(names))).map("".join)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    exchanges = draw(st.lists(st.tuples(texts, texts), max_size=4))
    messages = [Message(Role.SYSTEM, draw(texts))] if draw(st.booleans()) else []
    for question, answer in exchanges:
        messages += [Message(Role.USER, question), Message(Role.ASSISTANT, answer)]
    return [*messages, Message(Role.USER, draw(texts))]


def rendered(stretches: Sequence[Stretch]) -> str:
    return "".join(
        segment.name if isinstance(segment, Control) else getattr(segment, "text", "")
        for stretch in stretches
        for segment in stretch
    )


def controls(stretches: Sequence[Stretch]) -> list[str]:
    return [s.name for stretch in stretches for s in stretch if isinstance(s, Control)]


def harmless(messages: Sequence[Message]) -> list[Message]:
    return [Message(message.role, "word") for message in messages]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_conversation_is_written_as_the_familys_reference_template_writes_it(family: PromptFormat) -> None:
    assert rendered(family.stretches(CONVERSATION)) == EXPECTED[family.name]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (PHI3, "<|user|>\nWho?<|end|>\n<|assistant|>\n"),
        (LLAMA2, "[INST] Who? [/INST]"),
        (CHATML, "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_a_question_needs_no_system_text(family: PromptFormat, expected: str) -> None:
    assert rendered(family.stretches([Message(Role.USER, "Who?")])) == expected


@given(families, conversations())
def test_no_message_adds_a_control_token(family: PromptFormat, messages: list[Message]) -> None:
    assert controls(family.stretches(messages)) == controls(family.stretches(harmless(messages)))


@given(conversations())
def test_no_message_forges_a_marker_of_llama2(messages: list[Message]) -> None:
    hostile, plain = (rendered(LLAMA2.stretches(each)) for each in (messages, harmless(messages)))

    assert [hostile.count(marker) for marker in LLAMA2.markers] == [
        plain.count(marker) for marker in LLAMA2.markers
    ]


@given(families, conversations(), texts, texts)
def test_a_longer_conversation_only_adds_stretches(
    family: PromptFormat, messages: list[Message], answer: str, question: str
) -> None:
    longer = [*messages, Message(Role.ASSISTANT, answer), Message(Role.USER, question)]

    assert family.stretches(longer)[:-1] == family.stretches(messages)


@given(conversations())
def test_chatml_keeps_every_character(messages: list[Message]) -> None:
    text = rendered(CHATML.stretches(messages))

    position = 0
    for message in messages:
        position = text.index(message.text, position) + len(message.text)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_an_answer_in_its_own_tokens_has_its_lead_already(family: PromptFormat) -> None:
    question = Message(Role.USER, "Who?")
    _, stretch = family.stretches([question, Message(Role.ASSISTANT, " You.", (7, 8, 9)), question])

    assert stretch[0] == Tokens((7, 8, 9))
    assert rendered([stretch]) == family.answer_to_question + "Who?" + family.question_to_answer


THINKING = replace(CHATML, name="thinking", cue="<think>\n", answer_lead="</think>")


@given(conversations())
def test_a_cue_stands_only_where_the_model_is_asked(messages: list[Message]) -> None:
    asked = [Message(message.role, "word") for message in messages]
    text = rendered(THINKING.stretches(asked))
    assert text.endswith("<|im_start|>assistant\n<think>\n")
    assert text.count("<think>") == 1
    assert text.count("assistant\n</think>word") == sum(each.role is Role.ASSISTANT for each in messages)


def test_an_answer_after_a_cue_gets_the_lead_that_it_was_not_written_with() -> None:
    question = Message(Role.USER, "Who?")
    _, stretch = THINKING.stretches([question, Message(Role.ASSISTANT, "You.", (7, 8)), question])

    assert stretch[:2] == (Text("</think>"), Tokens((7, 8)))


def test_llama2_reads_the_system_text_and_the_first_question_as_one_text() -> None:
    blanks = [Message(message.role, f" {message.text} ") for message in CONVERSATION]

    assert rendered(LLAMA2.stretches(blanks)) == (
        "[INST] <<SYS>>\n Be brief. \n<</SYS>>\n\n Who? [/INST] You. </s><s>[INST] Why? [/INST]"
    )


def test_a_question_that_was_never_answered_is_answered_with_nothing() -> None:
    interrupted = [Message(Role.USER, "Who?"), Message(Role.USER, "Why?")]

    assert CHATML.stretches(interrupted) == CHATML.stretches(
        [Message(Role.USER, "Who?"), Message(Role.ASSISTANT, ""), Message(Role.USER, "Why?")]
    )


@pytest.mark.parametrize(
    "roles",
    [
        [],
        [Role.SYSTEM],
        [Role.ASSISTANT, Role.USER],
        [Role.USER, Role.ASSISTANT],
        [Role.USER, Role.SYSTEM],
        [Role.USER, Role.ASSISTANT, Role.ASSISTANT, Role.USER],
    ],
)
def test_an_order_that_is_no_conversation_is_refused(roles: list[Role]) -> None:
    with pytest.raises(InvalidRequest):
        CHATML.stretches([Message(role, "text") for role in roles])


def test_a_format_is_found_by_name() -> None:
    assert named_format("llama3") is LLAMA3
    with pytest.raises(InvalidSetting, match="'alpaca'") as refused:
        named_format("alpaca")
    assert "chatml" in refused.value.hint


@pytest.mark.parametrize("word", ["user", "  ", "\n\n", "x", "#", "<", "a < b"])
def test_words_and_blanks_are_no_markup(word: str) -> None:
    assert not looks_like_markup(word)
