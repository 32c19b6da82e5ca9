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
from coding_assistant.errors import InvalidRequest, InvalidSetting

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
    ``answer_lead`` stands before an answer that was given, and is the model's own to write when it answers;
    ``cue`` is what stands where the model is asked to answer and before no answer that was given, as
    ``<think>`` does. ``markers`` are structure that is no control token: in a message they are broken by a
    zero-width space. ``stop`` are markers that end an answer. No control token is among them: the engine ends
    at the end tokens by their numbers and never writes one out, so that its name in an answer is always a
    quotation. ``trims`` are the roles whose texts the family's reference template strips; without the
    system's among them, the first question is one text with the system's before it, and keeps its beginning.
    """

    name: str
    opening: str
    system_to_question: str
    first_question: str
    question_to_answer: str
    answer_to_question: str
    controls: tuple[str, ...]
    answer_lead: str = ""
    cue: str = ""
    markers: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    trims: frozenset[Role] = frozenset()

    def stretches(self, messages: Sequence[Message]) -> tuple[Stretch, ...]:
        """Write the conversation down, cut where an answer begins.

        The first stretch ends where the first answer begins, each further one holds an answer, the next
        question, and ends where its answer begins. So a longer conversation only adds stretches, but for a
        cue at the very end. Raises ``InvalidRequest`` for an order of messages that no conversation has.
        """
        system, exchanges, question = _as_conversation(messages)
        questions = [*(exchange.question for exchange in exchanges), question]
        stretches = [self._first_stretch(system, questions[0])]
        for exchange, next_question in zip(exchanges, questions[1:], strict=True):
            parts = (
                *self._answer(exchange.answer),
                self._content(Role.USER, next_question),
                *self._literal(self.question_to_answer),
            )
            stretches.append(_merged(parts))
        stretches[-1] = _merged((*stretches[-1], *self._literal(self.cue)))
        return tuple(stretches)

    def _answer(self, answer: Message) -> tuple[Segment, ...]:
        """Write an answer down with all that stands before the next question.

        In its own tokens it has the lead already, unless a cue stood there, and perhaps the blanks after it.
        One that quotes a marker is written as text all the same, for there the marker can be broken.
        """
        literal = self.answer_to_question
        lead = self._literal(self.answer_lead)
        if not answer.tokens or broken(answer.text, self.markers) != answer.text:
            return (*lead, self._content(Role.ASSISTANT, answer.text), *self._literal(literal))
        blanks = literal[: len(literal) - len(literal.lstrip())]
        rest = literal.removeprefix(blanks) if answer.text.endswith(blanks) else literal
        return (*(lead if self.cue else ()), Tokens(answer.tokens), *self._literal(rest))

    def _first_stretch(self, system: str | None, question: str) -> Stretch:
        if system is None:
            before: tuple[Segment, ...] = self._literal(self.first_question)
        else:
            before = (
                *self._literal(self.opening),
                self._content(Role.SYSTEM, system),
                *self._literal(self.system_to_question),
            )
        asked = self._content(Role.USER, question)
        if system is not None and Role.USER in self.trims and Role.SYSTEM not in self.trims:
            asked = Text(broken(question.rstrip(), self.markers))
        return _merged((*before, asked, *self._literal(self.question_to_answer)))

    def _literal(self, text: str) -> tuple[Segment, ...]:
        if not self.controls:
            return (Text(text),)
        # Longest first: one control token's name may begin another's.
        names = sorted(self.controls, key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
        return tuple(Control(part) if part in self.controls else Text(part) for part in parts)

    def _content(self, role: Role, text: str) -> Text:
        return Text(broken(text.strip() if role in self.trims else text, self.markers))


CHATML: Final = PromptFormat(
    # Qwen's templates put a text of their own where there is no system text. Here there always is one.
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
    # The templates of Llama 3.1 to 3.3 write a header of two dates here, "Cutting Knowledge Date" and "Today
    # Date", those of 3.0 do not. A prompt that changes at midnight would make every conversation be read
    # again. Without a system text they write one of the header alone; here there always is one.
    opening="<|start_header_id|>system<|end_header_id|>\n\n",
    system_to_question="<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
    first_question="<|start_header_id|>user<|end_header_id|>\n\n",
    question_to_answer="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    answer_to_question="<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
    controls=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    trims=frozenset(Role),
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
    trims=frozenset({Role.USER, Role.ASSISTANT}),
)

FAMILIES: Final = {family.name: family for family in (PHI3, LLAMA2, LLAMA3, CHATML)}
AUTO: Final = "auto"


def named_format(name: str) -> PromptFormat:
    """Return the family of this name; raises ``InvalidSetting`` for any other."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise InvalidSetting(
            f"There is no prompt format named {name!r}.",
            hint=f"Set prompt_format to {AUTO} or one of {', '.join(FAMILIES)}.",
        ) from None


# <|user|>, <<SYS>>, [INST], and headings such as "### Instruction:".
_MARKUP: Final = re.compile(r"<+[^<>\n]+>+|\[+[^\[\]\n]+\]+|#{2,}[ \t]*\w[^\n]*")


def looks_like_markup(name: str) -> bool:
    """Tell a token that is structure (``<turn>``, ``[INST]``) from a word or a run of spaces."""
    return _MARKUP.fullmatch(name) is not None


def markup_in(text: str) -> tuple[str, ...]:
    """Return what looks like structure in a text, each once and in order."""
    return tuple(dict.fromkeys(found.strip() for found in _MARKUP.findall(text)))


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
