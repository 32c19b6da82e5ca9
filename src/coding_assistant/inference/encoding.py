"""Conversations into tokens, exactly: a message can never become a control token.

Control tokens are looked up in the vocabulary by name; all else is tokenised as text by the engine's own
tokenizer. For texts that name no control token the outcome is what llama.cpp makes of the whole rendered
prompt, so that a model reads what it was trained on. Knows nothing of processes and HTTP.
"""

import re
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from sys import getsizeof
from typing import Final, Protocol

from coding_assistant.domain import Message
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.gguf import Vocabulary
from coding_assistant.inference.prompt_format import (
    FAMILIES,
    Control,
    PromptFormat,
    Stretch,
    Tokens,
    broken,
    looks_like_markup,
)

# Types of tokens in a GGUF vocabulary.
_CONTROL: Final = 3
_USER_DEFINED: Final = 4

# User-defined tokens are read in plain text too. Most are harmless there (runs of spaces, HTML tags);
# those of this shape are structure, such as Qwen's <|fim_prefix|>.
_MARKUP: Final = re.compile(r"<\|.+\|>")

# What C calls a space: llama.cpp drops these after a control token that strips its right side.
_SPACES: Final = " \t\n\v\f\r"

# Stands for an answer in its own tokens where text goes on after it: a SentencePiece vocabulary would put a
# space before a text that stands alone.
_LETTER: Final = "a"

# For ten conversations that fill 30,000 tokens of context each: four bytes a token, as many of text, and what
# every entry takes beside them.
_REMEMBERED_BYTES: Final = 4 * 2**20
_ENTRY_BYTES: Final = 200


class Tokenizer(Protocol):
    """The tokenizer of a loaded model."""

    async def tokenize(
        self, text: str, *, parse_special: bool = False, add_special: bool = False
    ) -> tuple[int, ...]:
        """Return the tokens of the text.

        ``parse_special`` reads the names of control tokens as such, ``add_special`` adds the tokens that
        begin and end every text of the model.
        """
        ...


@dataclass(frozen=True, slots=True)
class VocabularyTraits:
    """What encoding in one format must know of a vocabulary.

    ``controls`` are the format's control tokens by name. ``guarded`` are the names of all tokens that a
    message must never hold. ``unwritten`` are the names of control tokens: the engine never writes these
    out, so that in an answer they are text like any other. ``beginning`` is what every text begins with: BOS,
    or nothing. ``strips_right`` are the control tokens that swallow the spaces after them, as Phi-3's do.
    """

    controls: Mapping[str, int]
    guarded: Mapping[int, str]
    unwritten: frozenset[str]
    beginning: tuple[int, ...]
    strips_right: frozenset[str]


def guarded_tokens(vocabulary: Vocabulary) -> dict[int, str]:
    """Return the tokens that are structure and never text."""
    return {
        number: name
        for number, (name, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        if kind == _CONTROL or (kind == _USER_DEFINED and _MARKUP.fullmatch(name))
    }


def structural_names(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the names of the tokens that a template may use as structure."""
    return tuple(
        name
        for name, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)
        if kind == _CONTROL or (kind == _USER_DEFINED and looks_like_markup(name))
    )


async def read_traits(
    tokenizer: Tokenizer, vocabulary: Vocabulary, prompt_format: PromptFormat
) -> VocabularyTraits:
    """Learn about the vocabulary, by asking the tokenizer what a GGUF file does not say.

    Raises ``InvalidModel`` when the format has a control token that the vocabulary lacks.
    """
    numbers = {name: number for number, name in enumerate(vocabulary.tokens)}
    missing = [name for name in prompt_format.controls if name not in numbers]
    if missing:
        raise InvalidModel(
            f"The model has no token {missing[0]}, which the prompt format {prompt_format.name} needs.",
            hint=f"Set prompt_format of this model to auto or to another of {', '.join(FAMILIES)}.",
        )
    controls = {name: numbers[name] for name in prompt_format.controls}
    guarded = guarded_tokens(vocabulary) | {number: name for name, number in controls.items()}
    word = await tokenizer.tokenize("x")
    whole = await tokenizer.tokenize("x", add_special=True)
    begins_at = next((n for n in range(len(whole)) if whole[n : n + len(word)] == word), 0)
    strips_right = frozenset(
        [
            name
            for name, number in controls.items()
            if await tokenizer.tokenize(f"{name}\nx", parse_special=True) == (number, *word)
        ]
    )
    # llama.cpp takes end tokens for control tokens even where the file calls them user-defined.
    unwritten = {
        name
        for name, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)
        if kind == _CONTROL or name in controls
    }
    return VocabularyTraits(controls, guarded, frozenset(unwritten), whole[:begins_at], strips_right)


class PromptEncoder:
    """Encodes the conversations of one loaded model, and remembers the tokens of their texts."""

    def __init__(self, tokenizer: Tokenizer, prompt_format: PromptFormat, traits: VocabularyTraits) -> None:
        self._tokenizer = tokenizer
        self._format = prompt_format
        self._traits = traits
        self._remembered: OrderedDict[str, array[int]] = OrderedDict()
        self._remembered_bytes = 0

    @property
    def format_name(self) -> str:
        """The name of the prompt format."""
        return self._format.name

    def stop_strings(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return the texts that end an answer: those wanted and the format's, less control tokens' names.

        An answer that explains ``<|im_end|>`` or HTML's ``</s>`` would be cut there, and the tokens of these
        names end an answer without being asked to.
        """
        stop = dict.fromkeys((*wanted, *self._format.stop))
        return tuple(text for text in stop if text not in self._traits.unwritten)

    async def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the tokens of plain text; none of them is a control token.

        Raises ``InvalidModel`` when the vocabulary does not let that be.
        """
        if not text:
            return ()
        remembered = self._remembered.get(text)
        if remembered is not None:
            self._remembered.move_to_end(text)
            return tuple(remembered)
        tokens = await self._tokenize_as_text(text)
        self._remember(text, array("i", tokens))
        return tokens

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the prompt's tokens, ending where the answer begins: ``protocols.Engine.encode``.

        An answer's own tokens are taken as they are, unless one of them is structure.
        """
        messages = [self._without_structure(message) for message in messages]
        tokens = list(self._traits.beginning)
        # The text since the last control token, which the next one continues across a stretch's end.
        open_text = ""
        strips = False
        for segment in self._without_second_beginning(self._format.stretches(messages)):
            if isinstance(segment, Control):
                tokens.append(self._traits.controls[segment.name])
                open_text, strips = "", segment.name in self._traits.strips_right
            elif isinstance(segment, Tokens):
                tokens += segment.tokens
                open_text = _LETTER
            else:
                text = segment.text.lstrip(_SPACES) if strips and not open_text else segment.text
                tokens += await self._continuation(open_text, text)
                open_text += text
        return tuple(tokens)

    def _without_structure(self, message: Message) -> Message:
        if any(token in self._traits.guarded for token in message.tokens):
            return replace(message, tokens=())
        return message

    async def _tokenize_as_text(self, text: str) -> tuple[int, ...]:
        tokens = await self._tokenizer.tokenize(text)
        tried: set[str] = set()
        while found := {self._traits.guarded[token] for token in tokens if token in self._traits.guarded}:
            if found <= tried:
                raise InvalidModel(
                    f"The model's vocabulary reads the text {min(found)!r} as a control token in any case.",
                    hint="Choose another model: this one cannot tell what is said from its own structure.",
                )
            tried |= found  # breaking one name may uncover another that overlapped it
            tokens = await self._tokenizer.tokenize(broken(text, sorted(tried, key=len, reverse=True)))
        return tokens

    def _without_second_beginning(self, stretches: Sequence[Stretch]) -> Stretch:
        """Return all segments in order, less a BOS that the template writes and the vocabulary adds."""
        segments = tuple(segment for stretch in stretches for segment in stretch)
        first = segments[0]
        if isinstance(first, Control) and (self._traits.controls[first.name],) == self._traits.beginning:
            return segments[1:]
        return segments

    async def _continuation(self, before: str, text: str) -> tuple[int, ...]:
        """Return the tokens that the text adds to those of ``before``, which stay as they are.

        Tokenised together, because a SentencePiece vocabulary puts a space before a text that stands
        alone. Apart only where a token would reach over the seam, as when an answer begins with a line
        break: the engine has read ``before`` already.
        """
        head = await self.tokenize(before)
        whole = await self.tokenize(before + text)
        if whole[: len(head)] == head:
            return whole[len(head) :]
        return await self.tokenize(text)

    def _remember(self, text: str, tokens: "array[int]") -> None:
        if text in self._remembered:  # two asked for it at the same time
            return
        self._remembered[text] = tokens
        self._remembered_bytes += _entry_bytes(text, tokens)
        while self._remembered_bytes > _REMEMBERED_BYTES:
            self._remembered_bytes -= _entry_bytes(*self._remembered.popitem(last=False))


def _entry_bytes(text: str, tokens: "array[int]") -> int:
    return _ENTRY_BYTES + getsizeof(text) + getsizeof(tokens)
