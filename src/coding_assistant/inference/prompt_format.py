"""How the families of models write a conversation down, as control tokens and text.

A format is five strings that stand around the texts of the messages. They alone may hold control tokens:
a message becomes text, whatever it says. Knows nothing of vocabularies and engines: the texts here become
tokens in ``encoding``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from coding_assistant.domain import Message, Role
from coding_assistant.errors import InvalidModel, InvalidRequest, InvalidSetting

ZERO_WIDTH_SPACE: Final = "\u200b"


@dataclass(frozen=True, slots=True)
class Control:
    """A control token of the format, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is tokenised as nothing but text."""

    text: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """An answer in the tokens that the model wrote it in."""

    tokens: tuple[int, ...]


Segment: TypeAlias = Control | Text | Tokens
Stretch: TypeAlias = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """What a family of models expects around the texts of a conversation.

    The token that begins every text of the model (BOS) is the vocabulary's business and not in here.
    ``answer_lead`` stands before an answer that was given, and is the model's own to write when it answers.
    ``markers`` are structure that is no control token: in a message they are broken by a zero-width space.
    ``stop`` are markers that end an answer. No control token is among them: the engine ends at the end
    tokens by their numbers and never writes one out, so that its name in an answer is always a quotation.
    ``trims`` says that the family's reference template strips the texts.
    """

    name: str
    opening: str
    system_to_question: str
    first_question: str
    question_to_answer: str
    answer_to_question: str
    controls: tuple[str, ...]
    answer_lead: str = ""
    markers: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    trims: bool = False

    def stretches(self, messages: Sequence[Message]) -> tuple[Stretch, ...]:
        """Write the conversation down, cut where an answer begins.

        The first stretch ends where the first answer begins, each further one holds an answer, the next
        question, and ends where its answer begins. So a longer conversation only adds stretches.
        Raises ``InvalidRequest`` for an order of messages that no conversation has.
        """
        system, exchanges, question = _as_conversation(messages)
        questions = [*(exchange.question for exchange in exchanges), question]
        stretches = [self._first_stretch(system, questions[0])]
        for exchange, next_question in zip(exchanges, questions[1:], strict=True):
            parts = (
                *self._answer(exchange.answer),
                self._content(next_question),
                *self._literal(self.question_to_answer),
            )
            stretches.append(_merged(parts))
        return tuple(stretches)

    def _answer(self, answer: Message) -> tuple[Segment, ...]:
        """Write an answer down with all that stands before the next question.

        In its own tokens it has the lead already, and perhaps the blanks after it. One that quotes a marker
        is written as text all the same, for there the marker can be broken.
        """
        literal = self.answer_to_question
        if not answer.tokens or broken(answer.text, self.markers) != answer.text:
            return (
                *self._literal(self.answer_lead),
                self._content(answer.text),
                *self._literal(literal),
            )
        blanks = literal[: len(literal) - len(literal.lstrip())]
        rest = literal.removeprefix(blanks) if answer.text.endswith(blanks) else literal
        return (Tokens(answer.tokens), *self._literal(rest))

    def _first_stretch(self, system: str | None, question: str) -> Stretch:
        if system is None:
            before: tuple[Segment, ...] = self._literal(self.first_question)
        else:
            before = (
                *self._literal(self.opening),
                self._content(system),
                *self._literal(self.system_to_question),
            )
        return _merged((*before, self._content(question), *self._literal(self.question_to_answer)))

    def _literal(self, text: str) -> tuple[Segment, ...]:
        if not self.controls:
            return (Text(text),)
        # Longest first: one control token's name may begin another's.
        names = sorted(self.controls, key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
        return tuple(Control(part) if part in self.controls else Text(part) for part in parts)

    def _content(self, text: str) -> Text:
        return Text(broken(text.strip() if self.trims else text, self.markers))


CHATML: Final = PromptFormat(
    name="chatml",
    opening="<|im_start|>system\n",
    system_to_question="<|im_end|>\n<|im_start|>user\n",
    first_question="<|im_start|>user\n",
    question_to_answer="<|im_end|>\n<|im_start|>assistant\n",
    answer_to_question="<|im_end|>\n<|im_start|>user\n",
    controls=("<|im_start|>", "<|im_end|>"),
)

PHI3: Final = PromptFormat(
    name="phi3",
    opening="<|system|>\n",
    system_to_question="<|end|>\n<|user|>\n",
    first_question="<|user|>\n",
    question_to_answer="<|end|>\n<|assistant|>\n",
    answer_to_question="<|end|>\n<|user|>\n",
    controls=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
)

LLAMA3: Final = PromptFormat(
    name="llama3",
    # The template of Llama 3.1 writes today's date here. A prompt that changes at midnight would make
    # every conversation be read again.
    opening="<|start_header_id|>system<|end_header_id|>\n\n",
    system_to_question="<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
    first_question="<|start_header_id|>user<|end_header_id|>\n\n",
    question_to_answer="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    answer_to_question="<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
    controls=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    trims=True,
)

LLAMA2: Final = PromptFormat(
    name="llama2",
    opening="[INST] <<SYS>>\n",
    system_to_question="\n<</SYS>>\n\n",
    first_question="[INST] ",
    question_to_answer=" [/INST]",
    answer_to_question=" </s><s>[INST] ",
    controls=("<s>", "</s>"),
    answer_lead=" ",
    markers=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    # Relatives that were trained badly go on with the next question. An answer that quotes a message or the
    # code in it is not cut: there the marker is broken.
    stop=("[INST]",),
    trims=True,
)

FAMILIES: Final = {family.name: family for family in (PHI3, LLAMA2, LLAMA3, CHATML)}
AUTO: Final = "auto"

# What a template of the family has, and what only its relatives have: Phi-4 puts <|im_sep|> into ChatML,
# Qwen3 wants its thinking to be dropped, Mistral has [INST] but no <<SYS>>, the first Phi-3 no system role.
_MARKS: Final = (
    (CHATML, ("<|im_start|>", "<|im_end|>"), ("<|im_sep|>", "<think>")),
    (LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), ("<think>",)),
    (PHI3, ("<|system|>\\n", "<|user|>\\n", "<|assistant|>\\n", "<|end|>"), ("<think>",)),
    (LLAMA2, ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"), ("[TOOL_CALLS]",)),
)


def named_format(name: str) -> PromptFormat:
    """Return the family of this name; raises ``InvalidSetting`` for any other."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise InvalidSetting(
            f"There is no prompt format named {name!r}.",
            hint=f"Set prompt_format to {AUTO} or one of {', '.join(FAMILIES)}.",
        ) from None


def recognised_format(chat_template: str) -> PromptFormat | None:
    """Return the family that a GGUF file's chat template belongs to, or None when it is another's."""
    template = chat_template.replace("\n", "\\n")
    for family, present, absent in _MARKS:
        if all(mark in template for mark in present) and not any(mark in template for mark in absent):
            return family
    return None


# <|user|>, <<SYS>>, [INST], and headings such as "### Instruction:".
_MARKUP: Final = re.compile(r"<+[^<>\n]+>+|\[+[^\[\]\n]+\]+|#{2,}[ \t]*\w[^\n]*")

# Ordinary words, so that no template changes them and no tokenizer is asked about them.
_SYSTEM: Final = "SentinelOfTheSystemText"
_QUESTIONS: Final = ("SentinelOfQuestionOne", "SentinelOfQuestionTwo", "SentinelOfQuestionThree")
_ANSWERS: Final = ("SentinelOfAnswerOne", "SentinelOfAnswerTwo")
PROBES: Final = (
    Message(Role.SYSTEM, _SYSTEM),
    Message(Role.USER, _QUESTIONS[0]),
    Message(Role.ASSISTANT, _ANSWERS[0]),
    Message(Role.USER, _QUESTIONS[1]),
    Message(Role.ASSISTANT, _ANSWERS[1]),
    Message(Role.USER, _QUESTIONS[2]),
)


def derived_format(with_system: str, without_system: str, controls: Sequence[str]) -> PromptFormat:
    """Return the format of a template, from how it renders ``PROBES`` and how without the system text.

    No message ever passes through the template itself, so none can bend it. ``controls`` are the tokens of
    the vocabulary that may be structure; what else looks like markup in the template is a marker. Raises
    ``InvalidModel`` when the template drops or reorders messages.
    """
    around = _between(with_system, [probe.text for probe in PROBES])
    bare = _between(without_system, [probe.text for probe in PROBES[1:]])
    opening, system_to_question, *_, answered, answer_to_question, question_to_answer = around
    # An answer of the past may stand further on than where the model is asked to begin.
    lead = answered[len(question_to_answer) :] if answered.startswith(question_to_answer) else ""
    # Apart, because what stands at the end of one and the start of the next is no markup.
    literals = "\n".join((opening, system_to_question, bare[0], question_to_answer, answer_to_question, lead))
    used = tuple(control for control in controls if control and control in literals)
    ends_by_token = any(control in answer_to_question for control in used)
    return PromptFormat(
        name=AUTO,
        opening=opening,
        system_to_question=system_to_question,
        first_question=bare[0],
        question_to_answer=question_to_answer,
        answer_to_question=answer_to_question,
        controls=used,
        answer_lead=lead,
        markers=_markers(literals, used),
        stop=() if ends_by_token else _markers(answer_to_question, used)[:1],
    )


def looks_like_markup(name: str) -> bool:
    """Tell a token that is structure (``<turn>``, ``[INST]``) from a word or a run of spaces."""
    return _MARKUP.fullmatch(name) is not None


def broken(text: str, names: Sequence[str]) -> str:
    """Return the text with a zero-width space inside every one of the names that it holds.

    A name of one character stays whole: there is no inside.
    """
    for name in names:
        if len(name) == 1:
            continue
        text = text.replace(name, name[0] + ZERO_WIDTH_SPACE + name[1:])
    return text


@dataclass(frozen=True, slots=True)
class _Exchange:
    question: str
    answer: Message


_NO_ANSWER: Final = Message(Role.ASSISTANT, "")


def _as_conversation(messages: Sequence[Message]) -> tuple[str | None, list[_Exchange], str]:
    """Return the system text, the answered questions and the open one.

    A question without an answer, as an interrupted turn leaves it, counts as answered with nothing.
    """
    has_system = bool(messages) and messages[0].role is Role.SYSTEM
    system = messages[0].text if has_system else None
    exchanges: list[_Exchange] = []
    question: str | None = None
    for message in messages[1:] if has_system else messages:
        match message.role:
            case Role.USER:
                if question is not None:
                    exchanges.append(_Exchange(question, _NO_ANSWER))
                question = message.text
            case Role.ASSISTANT if question is not None:
                exchanges.append(_Exchange(question, message))
                question = None
            case _:
                raise InvalidRequest(
                    f"A message of the {message.role} stands where a question is expected.",
                    hint="A conversation is one system text, then questions, each followed by its answer.",
                )
    if question is None:
        raise InvalidRequest("The conversation does not end with a question.")
    return system, exchanges, question


def _merged(segments: Sequence[Segment]) -> Stretch:
    """Join neighbouring texts: a tokenizer may read a line break and what follows as one token."""
    merged: list[Segment] = []
    for segment in segments:
        if not isinstance(segment, Text):
            merged.append(segment)
        elif segment.text:
            previous = merged[-1] if merged else None
            if isinstance(previous, Text):
                merged[-1] = Text(previous.text + segment.text)
            else:
                merged.append(segment)
    return tuple(merged)


def _markers(literals: str, controls: Sequence[str]) -> tuple[str, ...]:
    """Return what looks like markup in a template's literals and is no control token, in order."""
    for control in sorted(controls, key=len, reverse=True):
        literals = literals.replace(control, "\n")
    return tuple(dict.fromkeys(found.strip() for found in _MARKUP.findall(literals)))


def _between(rendered: str, sentinels: Sequence[str]) -> list[str]:
    """Return what stands before, between and after the sentinels."""
    pieces: list[str] = []
    rest = rendered
    for sentinel in sentinels:
        before, found, rest = rest.partition(sentinel)
        if not found or sentinel in rest:
            raise InvalidModel(
                "The chat template of the model does not write a conversation down in order.",
                hint=f"Set prompt_format of this model to one of {', '.join(FAMILIES)}.",
            )
        pieces.append(before)
    return [*pieces, rest]
