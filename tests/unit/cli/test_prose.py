from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from coding_assistant.cli.prose import Prose
from coding_assistant.cli.screen import Span

MARKDOWN = st.text(st.sampled_from("ab `*[1]#-\n漢~"), max_size=120)


def shown(text: str, *, width: int = 80, cuts: list[int] | None = None) -> list[Span]:
    prose = Prose(width)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or [])})
    pieces = [text[start:end] for start, end in pairwise(edges)]
    return [span for piece in pieces for span in prose.feed(piece)] + prose.finish()


def plain(spans: list[Span]) -> str:
    return "".join(span.text for span in spans)


def style_of(word: str, text: str) -> str:
    return next(span.style for span in shown(text) if span.text == word)


@given(MARKDOWN, st.lists(st.integers(min_value=0, max_value=200)), st.integers(min_value=5, max_value=40))
def test_how_the_model_cuts_its_pieces_makes_no_difference(text: str, cuts: list[int], width: int) -> None:
    in_pieces = [
        (character, span.style) for span in shown(text, width=width, cuts=cuts) for character in span.text
    ]
    at_once = [(character, span.style) for span in shown(text, width=width) for character in span.text]
    assert in_pieces == at_once


@given(MARKDOWN, st.integers(min_value=1, max_value=40))
def test_no_word_is_lost_added_or_moved(text: str, width: int) -> None:
    assert plain(shown(text, width=width)).split() == text.split()


@given(st.lists(st.text("ab漢", min_size=1, max_size=12), max_size=30), st.integers(24, 40))
def test_prose_fits_the_screen(words: list[str], width: int) -> None:
    lines = plain(shown(" ".join(words), width=width)).split("\n")
    assert all(cell_len(line) <= width for line in lines)


def test_words_wrap_and_list_items_hang() -> None:
    assert plain(shown("one two three", width=8)) == "one two\nthree"
    assert plain(shown("- one two three", width=9)) == "- one two\n  three"
    assert plain(shown("10. one two", width=8)) == "10. one\n    two"


def test_code_keeps_its_lines() -> None:
    code = "```python\n    if a and b and c and d:\n```\n"
    assert plain(shown(code, width=10)) == code


def test_marks_are_coloured_and_kept() -> None:
    assert style_of("decide", "see `decide` here") == "cyan"
    assert style_of("here", "see `decide` here") == ""
    assert style_of("bold", "so **bold** it is") == "bold"
    assert style_of("[1]", "as it says [1].") == "green"
    assert style_of("[1]", "the list `a[1]` is") == "cyan"
    assert style_of("Title", "## Title") == "bold"
    assert style_of("x=1", "```\nx=1\n```\nafter") == "cyan"
    assert style_of("after", "```\nx=1\n```\nafter") == ""


def test_an_unclosed_mark_colours_one_line_only() -> None:
    assert style_of("next", "use **kwargs\nnext") == ""
    assert style_of("next", "use `tick\nnext") == ""
