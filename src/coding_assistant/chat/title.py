"""A conversation's title from its first question: at once, and without a model."""

import re
from typing import Final

NEW_TITLE: Final = "New conversation"
"""The title before there is a question to take one from."""

LONGEST_TITLE: Final = 60
"""In characters: what fits one line of a list."""

_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_LINE_MARK: Final = re.compile(r"^\s*(?:#{1,6}\s+|>\s*|[-*+]\s+|\d{1,3}[.)]\s+)+")
_LINK: Final = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_EMPHASIS: Final = re.compile(r"`+|\*{2,3}")  # not `_` and `*`: in questions about code they are code
# A full stop counts from the twelfth character on, for "E.g. this" is no sentence; `a ? b : c` has none.
_SENTENCE: Final = re.compile(r"^.*?(?:(?<=\S)[?!]|(?<=.{12})\.)(?=\s)")


def title_from(question: str) -> str:
    """Return the first sentence of the question's first line, as plain text of at most 60 characters.

    A line of Markdown loses its marks; a question without words gives ``NEW_TITLE``.
    """
    for line in question.splitlines():
        text = "" if _FENCE.match(line) else _plain(line)
        if any(character.isalnum() for character in text):
            sentence = _SENTENCE.match(text)
            return _shortened(sentence[0] if sentence else text)
    return NEW_TITLE


def _plain(line: str) -> str:
    text = _LINE_MARK.sub("", line)
    text = _LINK.sub(r"\1", text)
    return " ".join(_EMPHASIS.sub("", text).split())


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TITLE:
        return text
    start = text[:LONGEST_TITLE]  # one more than fits beside the ellipsis: a word may end exactly there
    at_word = start.rpartition(" ")[0].rstrip(" ,;:-")
    # One endless word, or a first word too short to say anything, is cut where the room ends.
    return f"{at_word if len(at_word) >= LONGEST_TITLE // 3 else start[:-1]}…"
