"""An answer, dressed for the terminal while it is being written.

Words wrap at the screen's width and code keeps its lines; ``code``, **bold**, headings and ``[n]`` are
coloured. The marks stay, so that what is copied from the screen is the Markdown that the model wrote.
It works a word at a time, because nobody can take back what has scrolled away.
"""

import re

from rich.cells import cell_len

from coding_assistant.cli.screen import Span

_TOKENS = re.compile(r"\n|[^\S\n]+|\S+")
_MARKS = re.compile(r"(`+|\*\*|\[\d{1,4}\])")
_LIST_MARK = re.compile(r"[-*+]|\d{1,3}[.)]")
_HEADING = re.compile(r"#{1,6}")
_FENCES = ("```", "~~~")


class Prose:
    """Turns pieces of Markdown into spans; the pieces may be cut anywhere."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._unfinished = ""  # a word that may go on in the next piece
        self._in_fence = False
        self._begin_line()

    def feed(self, piece: str) -> list[Span]:
        """Return what can be shown now: everything up to the last whole word."""
        tokens = _TOKENS.findall(self._unfinished + piece)
        self._unfinished = tokens.pop() if tokens and not tokens[-1].isspace() else ""
        return [span for token in tokens for span in self._token(token)]

    def finish(self) -> list[Span]:
        """Return the rest."""
        last, self._unfinished = self._unfinished, ""
        return self._token(last) if last else []

    def _begin_line(self) -> None:
        # Marks do not reach over a line's end: an unclosed one colours one line, not the rest.
        self._column = 0
        self._indent = 0
        self._blanks = ""
        self._line_style = ""
        self._in_code = False
        self._in_bold = False

    def _token(self, token: str) -> list[Span]:
        if token[0] == "\n":
            self._begin_line()
            return [Span("\n")]
        if token.isspace():
            self._blanks += token
            return []
        if self._column == 0:
            self._open_line(token)
        return [Span(self._gap(token)), *self._word(token)]

    def _open_line(self, first_word: str) -> None:
        if first_word.startswith(_FENCES):
            self._in_fence = not self._in_fence
            self._line_style = "dim"
        elif self._in_fence:
            self._line_style = "cyan"
        elif _HEADING.fullmatch(first_word):
            self._line_style = "bold"
        elif _LIST_MARK.fullmatch(first_word):
            self._indent = len(self._blanks) + len(first_word) + 1

    def _gap(self, word: str) -> str:
        """Return what stands before the word: its blanks, or a line break and the indent."""
        blanks, self._blanks = self._blanks, ""
        length = cell_len(word)
        wraps = self._line_style not in ("dim", "cyan")
        if wraps and self._column and self._column + len(blanks) + length > self._width:
            self._column = self._indent + length
            return "\n" + " " * self._indent
        self._column += len(blanks) + length
        return blanks

    def _word(self, word: str) -> list[Span]:
        if self._line_style:
            return [Span(word, self._line_style)]
        return [self._part(part) for part in _MARKS.split(word) if part]

    def _part(self, part: str) -> Span:
        if part.startswith("`"):
            self._in_code = not self._in_code
            return Span(part, "cyan")
        if self._in_code:
            return Span(part, "cyan")
        if part == "**":
            self._in_bold = not self._in_bold
            return Span(part, "bold")
        if _MARKS.fullmatch(part):
            return Span(part, "green")
        return Span(part, "bold" if self._in_bold else "")
