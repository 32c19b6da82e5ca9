import io
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from coding_assistant.cli.screen import Screen, Span, clean, one_line

HOSTILE = st.text(
    st.sampled_from("a\n\t\r\x00\x07\x08\x1b[]0;m\\\x7f\x85\x9b\x9d\u202e\u2066\u200f\ud800é漢")
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def controls(text: str) -> set[str]:
    return {
        character
        for character in text
        if unicodedata.category(character) in {"Cc", "Cs"} or unicodedata.bidirectional(character) in _BIDI
    } - {"\n", "\t"}


_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(HOSTILE | st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert not controls(clean(text))


@given(HOSTILE)
def test_a_pipe_gets_neither_controls_nor_colours(text: str) -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.line(Span(text, "bold red"), Span(text, "dim", link=Path("/a file")), text)
    screen.table([(text, text)])
    assert not controls(stream.getvalue())


@given(HOSTILE)
def test_json_is_ascii_and_comes_back_as_it_was(text: str) -> None:
    stream = io.StringIO()
    Screen(stream).json({"text": text})
    written = stream.getvalue()
    assert written.isascii()
    assert not controls(written)
    assert json.loads(written) == {"text": text}


def test_what_can_be_shown_stays_as_it_is() -> None:
    assert clean("naïve 漢字 ✓\n\tif x:") == "naïve 漢字 ✓\n\tif x:"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_a_terminal_gets_colours_and_links_but_no_foreign_ones(terminal: Terminal) -> None:
    Screen(terminal).line(Span("\x1b[31mred\x1b]8;;http://evil\x07", "bold", link=Path("/a file")))
    written = terminal.getvalue()
    assert "\x1b[1m" in written
    assert "file:///a%20file" in written
    assert "\x1b[31m" not in written
    assert "\x1b]8;;http" not in written


def test_long_lines_are_left_to_the_terminal_to_fold(terminal: Terminal) -> None:
    Screen(terminal).line("word " * 40)
    assert terminal.getvalue().count("\n") == 1


def test_a_dumb_terminal_is_treated_like_a_pipe(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen(terminal)
    screen.line(Span("bold", "bold"))
    assert not screen.is_terminal
    assert terminal.getvalue() == "bold\n"


def test_signs_that_the_encoding_lacks_have_a_plain_form() -> None:
    old_console = io.TextIOWrapper(io.BytesIO(), encoding="cp437", errors="strict")
    assert Screen(old_console).glyph("✓", "+") == "+"
    assert Screen(old_console).glyph("√", "+") == "√"


def test_columns_are_aligned_by_width_on_screen() -> None:
    stream = io.StringIO()
    Screen(stream).table([("漢字", "a"), ("x", "b")])
    assert stream.getvalue() == "漢字  a\nx     b\n"


def test_an_empty_table_is_nothing() -> None:
    stream = io.StringIO()
    Screen(stream).table([])
    assert stream.getvalue() == ""


@given(st.text(), st.integers(min_value=1, max_value=30))
def test_one_line_is_one_line(text: str, width: int) -> None:
    line = one_line(text, width=width)
    assert len(line.splitlines()) <= 1
    assert cell_len(line) <= width
