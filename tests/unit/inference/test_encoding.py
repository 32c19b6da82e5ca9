import re
from collections.abc import Sequence
from itertools import chain, repeat

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Message, Role
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.encoding import PromptEncoder, read_traits
from coding_assistant.inference.gguf import Vocabulary
from coding_assistant.inference.prompt_format import (
    CHATML,
    FAMILIES,
    LLAMA2,
    LLAMA3,
    PHI3,
    PromptFormat,
)

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4

CONTROLS = tuple(dict.fromkeys(name for family in FAMILIES.values() for name in family.controls))
MERGES = ("\n\n", "  ", "\n ", "ab")  # as a real vocabulary has them, also over the seam of two texts
CHARACTERS = tuple(map(chr, range(128)))


class ToyTokenizer:
    """Greedy longest match over a small vocabulary, with the quirks of llama.cpp's that matter here."""

    def __init__(
        self,
        *,
        beginning: str | None = None,
        space_prefix: bool = False,
        strips_right: bool = False,
        reads_markup_in_text: bool = False,
    ) -> None:
        tokens = (*CONTROLS, *MERGES, *CHARACTERS, "\N{ZERO WIDTH SPACE}")
        self._read_in_text = tuple(name for name in CONTROLS if reads_markup_in_text and "|" in name)
        kinds = [USER_DEFINED if name in self._read_in_text else CONTROL for name in CONTROLS]
        self.vocabulary = Vocabulary(tokens, (*kinds, *[NORMAL] * (len(tokens) - len(CONTROLS))))
        self._beginning = beginning
        self._space_prefix = space_prefix
        self._strips_right = strips_right
        self._pieces = re.compile("|".join(map(re.escape, MERGES)) + "|.", re.DOTALL)
        self.calls = 0

    async def tokenize(
        self, text: str, *, parse_special: bool = False, add_special: bool = False
    ) -> tuple[int, ...]:
        self.calls += 1
        begin = [self._beginning] if add_special and self._beginning else []
        read = CONTROLS if parse_special else self._read_in_text
        parts = re.split("(" + "|".join(map(re.escape, read)) + ")", text) if read else [text]
        pieces: list[str] = []
        for part in parts:
            if part in read:
                pieces.append(part)
            else:
                strip = self._strips_right and pieces
                pieces += self._plain(part.lstrip() if strip else part)
        return self._numbers([*begin, *pieces])

    def _plain(self, text: str) -> list[str]:
        return self._pieces.findall(" " + text if text and self._space_prefix else text)

    def _numbers(self, pieces: list[str]) -> tuple[int, ...]:
        known = {token: number for number, token in enumerate(self.vocabulary.tokens)}
        return tuple(known.get(piece, 0x10000 + ord(piece[0])) for piece in pieces)


async def encoder(tokenizer: ToyTokenizer, prompt_format: PromptFormat) -> PromptEncoder:
    traits = await read_traits(tokenizer, tokenizer.vocabulary, prompt_format)
    return PromptEncoder(tokenizer, prompt_format, traits)


def pieces(tokenizer: ToyTokenizer, text: str) -> tuple[int, ...]:
    """Return tokens of the text that a model could have written it in, one a character."""
    return tuple(tokenizer.vocabulary.tokens.index(character) for character in text)


def control_count(tokens: tuple[int, ...]) -> int:
    return sum(token < len(CONTROLS) for token in tokens)


tokenizers = st.builds(
    ToyTokenizer,
    beginning=st.sampled_from([None, "<s>"]),
    space_prefix=st.booleans(),
    strips_right=st.booleans(),
    reads_markup_in_text=st.booleans(),
)
formats = st.sampled_from([*FAMILIES.values()])
texts = st.lists(st.sampled_from([*CONTROLS, *MERGES, "\n", " ", "word", "é", "[INST]"]), max_size=6).map(
    "".join
)
exchanges = st.lists(st.tuples(texts, texts), max_size=3)


answers_in_tokens = st.lists(st.integers(0, len(CONTROLS) + len(MERGES) + 100), max_size=5).map(tuple)


def conversation(
    system: str,
    exchanges: list[tuple[str, str]],
    question: str,
    written: Sequence[tuple[int, ...]] = (),
) -> list[Message]:
    """Return the messages; ``written`` are the tokens of the answers, for as many as there are."""
    messages = [Message(Role.SYSTEM, system)]
    for (asked, answered), tokens in zip(exchanges, chain(written, repeat(())), strict=False):
        messages += [Message(Role.USER, asked), Message(Role.ASSISTANT, answered, tokens)]
    return [*messages, Message(Role.USER, question)]


@given(tokenizers, formats, texts, exchanges, texts, st.lists(answers_in_tokens, max_size=3))
def test_hostile_texts_make_no_more_control_tokens_than_harmless_ones(
    tokenizer: ToyTokenizer,
    prompt_format: PromptFormat,
    system: str,
    said: list[tuple[str, str]],
    question: str,
    written: list[tuple[int, ...]],
) -> None:
    async def run() -> None:
        encode = (await encoder(tokenizer, prompt_format)).encode
        hostile = await encode(conversation(system, said, question, written))
        plain = await encode(conversation("word", [("word", "word")] * len(said), "word"))
        assert control_count(hostile) == control_count(plain)

    anyio.run(run)


@given(tokenizers, formats, texts, exchanges, texts, st.lists(answers_in_tokens, max_size=3))
def test_encoding_is_append_only(
    tokenizer: ToyTokenizer,
    prompt_format: PromptFormat,
    system: str,
    said: list[tuple[str, str]],
    question: str,
    written: list[tuple[int, ...]],
) -> None:
    async def run() -> None:
        # Two encoders: what one has remembered must not be what makes it hold.
        whole = await (await encoder(tokenizer, prompt_format)).encode(
            conversation(system, said, question, written)
        )
        for turn, (asked, _) in enumerate(said):
            fresh = await encoder(tokenizer, prompt_format)
            begun = await fresh.encode(conversation(system, said[:turn], asked, written))
            assert whole[: len(begun)] == begun

    anyio.run(run)


words = st.lists(st.sampled_from(["word", "ab", "\n", "  ", "x"]), max_size=5).map(
    lambda pieces: "w" + "".join(pieces) + "w"
)


@given(tokenizers, formats, words, st.lists(st.tuples(words, words), max_size=3), words)
def test_harmless_texts_become_what_the_whole_rendered_prompt_would(
    tokenizer: ToyTokenizer,
    prompt_format: PromptFormat,
    system: str,
    said: list[tuple[str, str]],
    question: str,
) -> None:
    messages = conversation(system, said, question)
    rendered = "".join(
        getattr(segment, "name", "") or getattr(segment, "text", "")
        for stretch in prompt_format.stretches(messages)
        for segment in stretch
    )

    async def run() -> None:
        ours = await (await encoder(tokenizer, prompt_format)).encode(messages)
        assert ours == await tokenizer.tokenize(rendered, parse_special=True, add_special=True)

    anyio.run(run)


@given(tokenizers, formats, words, words)
def test_what_the_model_wrote_stands_in_its_own_tokens_and_the_rest_as_ever(
    tokenizer: ToyTokenizer, prompt_format: PromptFormat, answer: str, question: str
) -> None:
    lead, follow_up = prompt_format.answer_lead, Message(Role.USER, question)
    said = lead + answer
    written = Message(Role.ASSISTANT, said, pieces(tokenizer, said))

    async def run() -> None:
        encode = (await encoder(tokenizer, prompt_format)).encode
        asked = await encode([Message(Role.USER, "word")])
        whole = await encode([Message(Role.USER, "word"), written, follow_up])
        from_text = await encode([Message(Role.USER, "word"), Message(Role.ASSISTANT, "w"), follow_up])

        assert whole[: len(asked) + len(written.tokens)] == (*asked, *written.tokens)
        rest = whole[len(asked) + len(written.tokens) :]
        assert rest == from_text[-len(rest) :]

    anyio.run(run)


def test_blanks_that_the_model_wrote_after_its_answer_are_not_written_twice() -> None:
    async def run() -> None:
        tokenizer = ToyTokenizer(space_prefix=True)
        encode = (await encoder(tokenizer, LLAMA2)).encode
        question = Message(Role.USER, "word")
        without, with_blank = [
            await encode([question, Message(Role.ASSISTANT, said, pieces(tokenizer, said)), question])
            for said in (" yes", " yes ")
        ]
        assert without == with_blank

    anyio.run(run)


def test_an_answer_that_quotes_a_marker_is_read_as_text() -> None:
    async def run() -> None:
        tokenizer = ToyTokenizer()
        encode = (await encoder(tokenizer, LLAMA2)).encode
        question, said = Message(Role.USER, "word"), "It is [INST]."
        in_tokens, in_text = [
            await encode([question, Message(Role.ASSISTANT, said, tokens), question])
            for tokens in (pieces(tokenizer, said), ())
        ]
        assert in_tokens == in_text

    anyio.run(run)


@given(tokenizers, texts)
def test_plain_text_holds_no_control_token(tokenizer: ToyTokenizer, text: str) -> None:
    async def run() -> None:
        assert control_count(await (await encoder(tokenizer, CHATML)).tokenize(text)) == 0

    anyio.run(run)


@pytest.mark.parametrize("prompt_format", [PHI3, LLAMA2, LLAMA3, CHATML], ids=lambda family: family.name)
def test_no_quoted_control_token_ends_an_answer(prompt_format: PromptFormat) -> None:
    async def run() -> None:
        made = await encoder(ToyTokenizer(), prompt_format)
        stop = made.stop_strings((*CONTROLS, "END"))
        assert stop == ("END", *(["[INST]"] if prompt_format is LLAMA2 else []))

    anyio.run(run)


class Overlapping(ToyTokenizer):
    """Reads one control token in plain text, and where that one was broken another."""

    async def tokenize(
        self, text: str, *, parse_special: bool = False, add_special: bool = False
    ) -> tuple[int, ...]:
        names = ("<|im_start|>", "<|im_end|>")
        found = next((CONTROLS.index(name) for name in names if name in text), None)
        if found is not None:
            return (found,)
        return await super().tokenize(text, parse_special=parse_special, add_special=add_special)


def test_a_control_token_that_breaking_another_uncovers_is_broken_too() -> None:
    async def run() -> None:
        made = await encoder(Overlapping(), CHATML)
        assert control_count(await made.tokenize("<|im_start|><|im_end|>")) == 0

    anyio.run(run)


def test_a_vocabulary_that_reads_a_letter_as_a_control_token_is_refused() -> None:
    async def run() -> None:
        tokenizer = ToyTokenizer()
        kinds = list(tokenizer.vocabulary.types)
        kinds[tokenizer.vocabulary.tokens.index("q")] = CONTROL
        tokenizer.vocabulary = Vocabulary(tokenizer.vocabulary.tokens, tuple(kinds))
        made = await encoder(tokenizer, CHATML)
        assert await made.tokenize("a word")
        with pytest.raises(InvalidModel, match="'q'"):
            await made.tokenize("a question")

    anyio.run(run)


def test_a_token_that_begins_every_text_stands_there_once() -> None:
    async def run() -> None:
        tokenizer = ToyTokenizer(beginning="<|im_start|>")  # the format writes it, and so does the vocabulary
        tokens = await (await encoder(tokenizer, CHATML)).encode([Message(Role.USER, "hi")])
        assert tokens[0] == CONTROLS.index("<|im_start|>") != tokens[1]

    anyio.run(run)


def test_what_was_encoded_before_is_not_tokenised_again() -> None:
    async def run() -> None:
        tokenizer = ToyTokenizer()
        encode = (await encoder(tokenizer, CHATML)).encode
        await encode(conversation("s", [("a", "b")], "c"))
        before = tokenizer.calls
        await encode(conversation("s", [("a", "b")], "c"))
        assert tokenizer.calls == before

    anyio.run(run)


def test_a_vocabulary_without_the_formats_tokens_is_refused() -> None:
    async def run() -> None:
        tokenizer = ToyTokenizer()
        bare = Vocabulary(CHARACTERS, (NORMAL,) * len(CHARACTERS))
        with pytest.raises(InvalidModel, match="phi3") as refused:
            await read_traits(tokenizer, bare, PHI3)
        assert "prompt_format" in refused.value.hint

    anyio.run(run)
