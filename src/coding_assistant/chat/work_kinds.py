"""Work that a small model does better when it is told how: the line that stands behind such a question.

The line is kept with the turn, so that a longer prompt begins as the shorter one did. Whatever is not
recognised here is answered without: the rules are in English, and each was needed by Qwen2.5-Coder 1.5B.
"""

import re
from collections.abc import Sequence
from typing import Final

from coding_assistant.chat.attachments import is_diff, names_code_lines
from coding_assistant.domain import Chunk, ChunkKind

DIFF: Final = "In the diff, a line with + is new and a line with - is gone; the others stay."
"""Without it, the model took both kinds of lines for code that stands there."""

REVIEW: Final = (
    "Say what the new lines do differently from the ones that are gone, whether that is right, and what"
    " breaks if it is not."
)
COMMIT_MESSAGE: Final = (
    "Write the message and nothing else: one line of at most 72 characters that says what the change does,"
    " an empty line, and why."
)
TRACE: Final = (
    "Name the line of the project that fails, the value that makes it fail, and the change that helps."
)

CODE: Final = (
    "Write every function that you change as a whole, without line numbers, and nothing else of its file, in"
    " a code block that begins with its language and the path of the file, like ```python src/a.py"
)
TEST: Final = (
    "Write the test in one code block that begins with its language and the path of the test's file, like"
    " ```python tests/test_a.py, with the imports that it needs."
)

_POLITE = r"^\W*(?:please |can you |could you )?"
_ASKS_FOR_MESSAGE = re.compile(r"\bcommit (?:message|text|title)\b", re.IGNORECASE)
_ASKS_FOR_TEST = re.compile(
    rf"{_POLITE}(?:write|add|create|generate|make)\b[^.?!]{{0,60}}\btests?\b", re.IGNORECASE
)
_ASKS_FOR_CODE = re.compile(
    rf"{_POLITE}(?:rewrite|refactor|implement|simplify|fix|change|modify|edit|port)\b", re.IGNORECASE
)


def work_note(question: str, attached: Sequence[Chunk], *, wants_diff: bool) -> str:
    """Return what the model is told of how to do this kind of work; empty for a mere question."""
    given = [chunk.text for chunk in attached if chunk.kind is ChunkKind.GIVEN]
    if any(map(is_diff, given)):
        return f"{DIFF} {COMMIT_MESSAGE if _ASKS_FOR_MESSAGE.search(question) else REVIEW}"
    if _ASKS_FOR_TEST.search(question):
        return TEST
    if wants_diff or _ASKS_FOR_CODE.search(question):
        return CODE
    return TRACE if any(map(names_code_lines, given)) else ""
