import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import (
    EngineEvent,
    Finish,
    GenerationEnded,
    PromptRead,
    ReasoningPiece,
    TextPiece,
)
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.gguf import Vocabulary
from coding_assistant.inference.thinking import (
    Thoughts,
    ThoughtStyle,
    apart,
    read_switched,
    require_no_switch,
    thought_style,
)

STYLE = ThoughtStyle("<think>", "</think>")
OPEN = ThoughtStyle("<think>", "</think>", begins_open=True)
PERHAPS_OPEN = ThoughtStyle("<think>", "</think>", may_begin_open=True)
ENDED = GenerationEnded(Finish.COMPLETE, 0, 1, 1, 0.1, 0.1)


def split(pieces: Sequence[TextPiece], style: ThoughtStyle = STYLE) -> list[ReasoningPiece | TextPiece]:
    thoughts = Thoughts(style)
    parts = [part for piece in pieces for part in thoughts.feed(piece)]
    return [*parts, *thoughts.finish()]


def both(parts: Sequence[ReasoningPiece | TextPiece]) -> tuple[str, str]:
    thought = "".join(part.text for part in parts if isinstance(part, ReasoningPiece))
    said = "".join(part.text for part in parts if isinstance(part, TextPiece))
    return thought, said


@pytest.mark.parametrize(
    ("text", "style", "expected"),
    [
        ("<think>\nHm. <b>\n</think>\n\nIt is.\n", STYLE, ("Hm. <b>", "It is.\n")),
        ("\n<think></think>It is.", STYLE, ("", "It is.")),
        ("Hm.\n</think>\nIt is.", OPEN, ("Hm.", "It is.")),
        ("Hm, and what</thin", OPEN, ("Hm, and what</thin", "")),
        ("<think>Hm", STYLE, ("Hm", "")),
        ("It is <think>quoted</think>.", STYLE, ("", "It is <think>quoted</think>.")),
        ("<think>Hm.</think>Write <think> and </think>.", STYLE, ("Hm.", "Write <think> and </think>.")),
        ("<thin ice>", STYLE, ("", "<thin ice>")),
        ("<thi", STYLE, ("", "<thi")),
        ("Plain </think> text", STYLE, ("", "Plain </think> text")),
    ],
)
def test_thoughts_stand_before_the_answer_and_nowhere_else(
    text: str, style: ThoughtStyle, expected: tuple[str, str]
) -> None:
    assert both(split([TextPiece(text)], style)) == expected


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<thi", "</", "nk>", "Hm", " ", "\n", "It is.", "<", "é"]),
    max_size=12,
).map("".join)


@given(text=TEXTS, cuts=st.lists(st.integers(0, 60)), style=st.sampled_from([STYLE, OPEN]))
def test_however_the_text_is_cut_its_two_parts_are_the_same(
    text: str, cuts: list[int], style: ThoughtStyle
) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [TextPiece(text[a:b]) for a, b in itertools.pairwise(edges) if a < b]

    thought, said = both(split(pieces, style))

    assert (thought, said) == both(split([TextPiece(text)] if text else [], style))
    assert thought == thought.strip()
    if style is STYLE and not text.lstrip().startswith("<think>"):
        assert (thought, said) == ("", text)


def kept(parts: Sequence[ReasoningPiece | TextPiece]) -> str:
    """Return what is left of the answer at its end."""
    taken = [number for number, part in enumerate(parts) if getattr(part, "takes_text_back", False)]
    return both(parts[taken[-1] :] if taken else parts)[1]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The user wants\nit.\n</think>\n\nIt is.", "It is."),
        ("Hm, < and </thin.</think>\nIt is </think>\n.", "It is </think>\n."),
        ("<think>Hm.</think>\nIt is.", "It is."),
        ("Hm.</think>It is.", "It is."),
        ("Hm.\n</think>**It** is.", "**It** is."),
        ('The </think> tag and "</think>".', 'The </think> tag and "</think>".'),
        ("It is `</think>` that ends them.", "It is `</think>` that ends them."),
        ("Write <think>\nHm.\n</think>\nfirst.", "Write <think>\nHm.\n</think>\nfirst."),
        ("It is.</think>", "It is.</think>"),
        ("It is.</th", "It is.</th"),
        ("It is.", "It is."),
    ],
)
def test_thoughts_whose_opening_mark_nobody_saw_are_taken_back(text: str, answer: str) -> None:
    for size in (1, 2, 3, 7, len(text)):
        pieces = [TextPiece(text[at : at + size]) for at in range(0, len(text), size)]

        assert kept(split(pieces, PERHAPS_OPEN)) == answer


def test_text_that_may_be_thoughts_is_not_held_back() -> None:
    thoughts = Thoughts(PERHAPS_OPEN)

    assert thoughts.feed(TextPiece("It is.")) == [TextPiece("It is.")]
    assert thoughts.feed(TextPiece(" So")) == [TextPiece(" So")]


def test_where_the_server_tells_thoughts_apart_a_mark_in_the_text_is_quoted() -> None:
    given_events = (ReasoningPiece("Hm."), TextPiece("Write\n</think>\n."), ENDED)

    async def events() -> AsyncGenerator[EngineEvent, None]:
        for event in given_events:
            yield event

    async def run() -> list[EngineEvent]:
        return [event async for event in apart(events(), PERHAPS_OPEN)]

    assert tuple(asyncio.run(run())) == given_events


def test_the_answers_pieces_keep_their_tokens_and_the_blanks_before_it_are_nobodys() -> None:
    pieces = [
        TextPiece("<think>", (1,)),
        TextPiece("\n", (2,)),
        TextPiece("Hm", (3,)),
        TextPiece("</think>", (4,)),
        TextPiece("\n\n", (5,)),
        TextPiece("It", (6,)),
        TextPiece(" is", (7,)),
    ]

    assert split(pieces) == [ReasoningPiece("Hm"), TextPiece("It", (6,)), TextPiece(" is", (7,))]


def test_an_answer_in_one_piece_with_the_mark_has_no_known_tokens() -> None:
    assert split([TextPiece("<think>Hm</think>It", (1, 2, 3, 4)), TextPiece(" is", (5,))]) == [
        ReasoningPiece("Hm"),
        TextPiece("It"),
        TextPiece(" is", (5,)),
    ]


def test_an_answer_without_thoughts_passes_as_it_came() -> None:
    pieces = [TextPiece("\n", (1,)), TextPiece("It", (2,)), TextPiece(" is", (3,))]

    assert split(pieces) == pieces


def test_what_is_held_back_comes_before_the_end() -> None:
    async def events() -> AsyncGenerator[EngineEvent, None]:
        for event in (PromptRead(1, 1, 0), TextPiece("<thi", (1,)), ENDED):
            yield event

    async def run(style: ThoughtStyle | None) -> list[EngineEvent]:
        return [event async for event in apart(events(), style)]

    expected = [PromptRead(1, 1, 0), TextPiece("<thi", (1,)), ENDED]
    assert asyncio.run(run(STYLE)) == asyncio.run(run(None)) == expected


def vocabulary(*names: str, kind: int = 4) -> Vocabulary:
    return Vocabulary(("a", *names), (1, *[kind] * len(names)))


def test_a_model_thinks_between_the_marks_of_its_vocabulary_or_of_its_template() -> None:
    marked = vocabulary("<think>", "</think>")

    assert thought_style(marked, None, "") == STYLE
    assert thought_style(vocabulary(), "{{ content.split('</think>')[-1] }}", "") == STYLE
    assert thought_style(marked, None, "<think>\n") == OPEN
    assert thought_style(marked, None, "<think>\n\n</think>\n\n") == STYLE
    assert thought_style(vocabulary(), "{{ content }}", "") is None


def test_marks_that_are_control_tokens_must_be_written_out() -> None:
    style = thought_style(vocabulary("[THINK]", "[/THINK]", kind=3), None, "")

    assert style == ThoughtStyle("[THINK]", "[/THINK]", hidden=("[THINK]", "[/THINK]"))


def test_a_model_that_writes_into_channels_is_refused() -> None:
    with pytest.raises(InvalidModel, match="channels") as refused:
        thought_style(vocabulary("<|channel|>", "<|message|>"), None, "")
    assert refused.value.hint


SWITCHED = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}[assistant]"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)


@pytest.mark.parametrize(("thinking", "ends"), [("auto", "]"), ("on", "]"), ("off", "</think>")])
def test_the_templates_own_switch_is_set(thinking: str, ends: str) -> None:
    read = asyncio.run(read_switched(SWITCHED, {}, thinking=thinking, model="mine"))

    assert read.talk is not None
    assert read.talk.endswith(ends)


def test_a_switch_that_is_not_there_cannot_be_set() -> None:
    plain = SWITCHED.partition("{% if")[0]

    with pytest.raises(InvalidModel, match="no switch for thinking"):
        asyncio.run(read_switched(plain, {}, thinking="off", model="mine"))
    with pytest.raises(InvalidModel, match="no switch"):
        require_no_switch("on", model="mine", prompt_format="chatml")
    require_no_switch("auto", model="mine", prompt_format="chatml")
