"""What a model thinks before it answers, told apart from the answer.

Thinking models write their thoughts first, between two marks. They are no part of the answer: not kept, not
searched, and not in the next prompt. Knows nothing of servers; the texts come to it piece by piece.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from coding_assistant.domain import EngineEvent, GenerationEnded, ReasoningPiece, TextPiece
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.chat_template import Renderings, read_template
from coding_assistant.inference.gguf import Vocabulary

AS_THE_TEMPLATE_SAYS: Final = "auto"

_MARKS: Final = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, SmolLM3, and most others
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere
)
_CHANNELS: Final = ("<|channel|>", "<|message|>")  # gpt-oss
_SWITCHES: Final = ("enable_thinking", "thinking")  # the variables that templates read: Qwen3's, DeepSeek's
_ANSWER_FOLLOWS: Final = r"(?=[\n\w*#])"  # behind a mark that is quoted stand a quotation mark or a blank
_CONTROL: Final = 3  # the type of a token whose text the engine does not write out unasked

_Parts: TypeAlias = list[ReasoningPiece | TextPiece]


@dataclass(frozen=True, slots=True)
class ThoughtStyle:
    """Between which marks a model thinks.

    ``begins_open``: the prompt ends with the first mark, so that the model begins with its thoughts.
    ``may_begin_open``: perhaps so, as nobody can see the prompt.
    ``hidden`` are the marks that the engine writes out only if it is asked to.
    """

    opening: str
    closing: str
    begins_open: bool = False
    may_begin_open: bool = False
    hidden: tuple[str, ...] = ()


def thought_style(vocabulary: Vocabulary, template: str | None, cue: str) -> ThoughtStyle | None:
    """Return how a model thinks; None for one that knows no marks for it.

    ``cue`` is what the prompt ends with where the model is asked to answer. Raises ``InvalidModel`` for a
    model whose thoughts cannot be told from its answer.
    """
    types = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    if all(name in types for name in _CHANNELS):
        raise InvalidModel(
            "The model writes into channels, as gpt-oss does, and its thoughts cannot be told from its answer"
            " here.",
            hint="Choose another model: `coding-assistant models list` shows those known to run.",
        )
    for opening, closing in _MARKS:
        if closing in types or closing in (template or ""):
            begins_open = closing not in cue.rpartition(opening)[2] if opening in cue else False
            hidden = tuple(mark for mark in (opening, closing) if types.get(mark) == _CONTROL)
            return ThoughtStyle(opening, closing, begins_open=begins_open, hidden=hidden)
    return None


async def read_switched(
    template: str, variables: Mapping[str, object], *, thinking: str, model: str
) -> Renderings:
    """Read a template with its switch for thinking as it is set: ``auto``, ``on`` or ``off``.

    Raises ``InvalidModel`` where it has no such switch, and what ``read_template`` does.
    """
    if thinking == AS_THE_TEMPLATE_SAYS:
        return await read_template(template, variables)
    on, off = [await read_template(template, {**variables, **_switched(on=on)}) for on in (True, False)]
    if on == off:
        raise InvalidModel(
            f"The chat template of {model} has no switch for thinking, which is set to {thinking!r}.",
            hint=f"Leave thinking of this model at {AS_THE_TEMPLATE_SAYS!r} in models.toml.",
        )
    return on if thinking == "on" else off


def require_no_switch(thinking: str, *, model: str, prompt_format: str) -> None:
    """Raise ``InvalidModel`` where thinking is set and the prompt format is not the template's own."""
    if thinking != AS_THE_TEMPLATE_SAYS:
        raise InvalidModel(
            f"thinking of {model} is set to {thinking!r}, but the prompt format {prompt_format} has no switch"
            " for it.",
            hint='Set prompt_format of this model to "auto", or leave out thinking.',
        )


def _switched(*, on: bool) -> dict[str, object]:
    return dict.fromkeys(_SWITCHES, on)


class _Where(Enum):
    BEFORE = auto()
    THINKING = auto()
    BETWEEN = auto()
    UNSURE = auto()
    ANSWER = auto()


class Thoughts:
    """Splits one answer. However the text is cut into pieces, its two parts are the same.

    Only what stands before the answer's first word can be thoughts: a mark further on is quoted. Blanks
    around the thoughts belong to neither part. Where thoughts may have begun open, the text goes out as it
    comes, and is taken back at a closing mark without an opening one, unless that looks quoted.
    """

    def __init__(self, style: ThoughtStyle) -> None:
        self._style = style
        self._where = _Where.THINKING if style.begins_open else _Where.BEFORE
        self._held: list[TextPiece] = []  # before it is known whether thoughts begin
        self._rest = ""  # what may yet turn out to be a mark, or blanks at the end of the thoughts
        self._has_thought = False

    def feed(self, piece: TextPiece) -> _Parts:
        """Return what can be told by now."""
        match self._where:
            case _Where.BEFORE:
                return self._begin(piece)
            case _Where.THINKING:
                return self._think(piece.text)
            case _Where.BETWEEN:
                return self._begin_answer(piece)
            case _Where.UNSURE:
                return self._doubt(piece)
            case _Where.ANSWER:
                return [piece]

    def finish(self) -> _Parts:
        """Return what was held back when the answer ends."""
        if self._where is _Where.BEFORE:
            return list(self._held)
        if self._where is _Where.UNSURE:
            return [TextPiece(self._rest)] if self._rest else []
        return self._thought(self._rest.rstrip()) if self._where is _Where.THINKING else []

    def _begin(self, piece: TextPiece) -> _Parts:
        self._held.append(piece)
        text = "".join(held.text for held in self._held).lstrip()
        if self._style.opening.startswith(text):  # also where there are only blanks
            if text != self._style.opening:
                return []
        elif not text.startswith(self._style.opening):
            self._where = _Where.UNSURE if self._style.may_begin_open else _Where.ANSWER
            return [part for held in self._held for part in self.feed(held)]
        self._where = _Where.THINKING
        return self._think(text.removeprefix(self._style.opening))

    def _think(self, text: str) -> _Parts:
        self._rest += text
        thought, closing, behind = self._rest.partition(self._style.closing)
        if closing:
            self._where = _Where.BETWEEN
            # The tokens of what stands in one piece with the mark are not told apart.
            return [*self._thought(thought.rstrip()), *self._begin_answer(TextPiece(behind))]
        known = self._rest[: len(self._rest) - self._begun(self._style.closing)].rstrip()
        self._rest = self._rest.removeprefix(known)
        return self._thought(known)

    def _doubt(self, piece: TextPiece) -> _Parts:
        """Pass text on that may be thoughts, up to a closing mark that nothing has opened."""
        self._rest += piece.text
        closing = re.search(f"{re.escape(self._style.closing)}{_ANSWER_FOLLOWS}", self._rest)
        before = self._rest[: closing.start()] if closing else self._rest
        if self._style.opening in before:
            self._where = _Where.ANSWER
            return [TextPiece(self._rest)]
        if closing:
            self._where = _Where.BETWEEN
            behind = TextPiece(self._rest[closing.end() :])
            return [ReasoningPiece(before, takes_text_back=True), *self._begin_answer(behind)]
        # One character more than the mark: what follows it tells whether it is quoted.
        known = self._rest[: len(self._rest) - self._begun(self._style.opening, f"{self._style.closing}\n")]
        self._rest = self._rest.removeprefix(known)
        return [TextPiece(known)] if known else []

    def _begun(self, *marks: str) -> int:
        """Return how many characters at the end may be the beginning of a mark."""
        endings = range(min(max(map(len, marks)) - 1, len(self._rest)), 0, -1)
        return next((n for n in endings if any(mark.startswith(self._rest[-n:]) for mark in marks)), 0)

    def _thought(self, text: str) -> _Parts:
        text = text if self._has_thought else text.lstrip()
        self._has_thought = self._has_thought or bool(text)
        return [ReasoningPiece(text)] if text else []

    def _begin_answer(self, piece: TextPiece) -> _Parts:
        text = piece.text.lstrip()
        if not text:
            return []
        self._where = _Where.ANSWER
        return [TextPiece(text, piece.tokens)]


async def apart(
    events: AsyncGenerator[EngineEvent, None], style: ThoughtStyle | None
) -> AsyncGenerator[EngineEvent, None]:
    """Yield an engine's events with the thoughts as ``ReasoningPiece``.

    A server that tells thoughts apart itself leaves none in the text.
    """
    thoughts = Thoughts(style) if style else None
    async with aclosing(events):
        async for event in events:
            if thoughts and isinstance(event, ReasoningPiece):
                for part in thoughts.finish():
                    yield part
                thoughts = None
            if thoughts and isinstance(event, TextPiece):
                for part in thoughts.feed(event):
                    yield part
                continue
            if thoughts and isinstance(event, GenerationEnded):
                for part in thoughts.finish():
                    yield part
            yield event
