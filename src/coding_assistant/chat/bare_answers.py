"""Answers that only point: numbers or titles of sources, and no words of their own.

Told to cite, a small model sometimes does nothing else: "[3]", or the titles of five sources as a list.
"""

import re
from typing import Final

from coding_assistant.chat.citations import MARK

_TITLE: Final = re.compile(r"[^\s:`]+:\d+(?:-\d+)?(?:\s*\([^()\n]*\))?")
"""``src/a.py:3-9 (Name.of_symbol)``, as sources are headed."""

_LIST_MARK: Final = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]", re.MULTILINE)
_WORD: Final = re.compile(r"\w")
_LEADS_IN: Final = re.compile(r":\s*\Z")

WORDS_NOTE: Final = (
    "Note: answer in sentences, with the names and values that stand in the sources; the numbers or titles of"
    " sources alone are no answer."
)


def is_bare(answer: str) -> bool:
    """Return whether an answer points at sources and says nothing: "The functions are: [1] a.py:3-9" too."""
    pointed = MARK.sub(" ", answer)
    said = _LIST_MARK.sub(" ", _TITLE.sub(" ", pointed))
    has_pointed = pointed != answer or said != pointed
    return has_pointed and (not _WORD.search(said) or bool(_LEADS_IN.search(said)))
