"""How many tokens a text or a conversation has for a model on another machine.

Exact where the server counts for us, otherwise an estimate that is rather too high: too low, and a prompt
would be refused, or cut without a word. Knows nothing of how answers are made.
"""

import hashlib
import math
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from coding_assistant.domain import Message

MESSAGE_TOKENS: Final = 16
"""What surrounds a message in any family's format at most; Llama 2 with its system part is the longest."""

# 226 excerpts of 60 lines (Python, Markdown, HTML, TOML) had 1.08 to 1.57 times as many such pieces, with
# words cut after 5 letters, as SmolLM2 reads tokens (49,000 of them, so that words break early), and 1.14 to
# 1.92 times as many as Qwen2.5. After 4 letters, since other vocabularies are smaller still; hexadecimal and
# Base64, which break up nearly everywhere, had fewer pieces than tokens until their letters went by twos.
_PIECE: Final = re.compile(r"[A-Za-z]{1,2}(?=[A-Za-z]{0,16}\d)|[A-Za-z]{1,4}|\n|[^\S\n]+|.", re.DOTALL)

# A summary or a greeting says little of the next prompt.
_TELLING_TOKENS: Final = 256
_FEWEST_ANSWERS: Final = 3
_ANSWERS_REMEMBERED: Final = 16
_MARGIN: Final = 1.1

# The parts of a prompt are counted again and again while it is composed; 40 bytes each.
_COUNTS_REMEMBERED: Final = 16_384

TextCount: TypeAlias = Callable[[str], Awaitable[int]]
PromptCount: TypeAlias = Callable[[Sequence[Message]], Awaitable[int]]


class Counting(Protocol):
    """Counts tokens for one model."""

    @property
    def is_exact(self) -> bool:
        """Whether the counts are the model's own; otherwise they are hardly ever too low."""
        ...

    async def text(self, text: str) -> int:
        """Return the tokens of plain text."""
        ...

    async def prompt(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation in the model's format, ready for an answer."""
        ...

    def learn(self, messages: Sequence[Message], read: int) -> None:
        """Note how many tokens the model says to have read of a conversation."""
        ...


class ServerCounting:
    """Counts that a server makes, each asked for once."""

    is_exact = True

    def __init__(self, text: TextCount, prompt: PromptCount) -> None:
        self._count_text = text
        self._count_prompt = prompt
        self._known: OrderedDict[bytes, int] = OrderedDict()

    async def text(self, text: str) -> int:
        """Return the tokens of plain text."""
        if not text:
            return 0
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        count = self._known.pop(key, None)
        if count is None:
            count = await self._count_text(text)
        self._known[key] = count
        if len(self._known) > _COUNTS_REMEMBERED:
            self._known.popitem(last=False)
        return count

    async def prompt(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation."""
        return await self._count_prompt(messages)

    def learn(self, messages: Sequence[Message], read: int) -> None:
        """Nothing is left to learn."""


class EstimatedCounting:
    """Counts by the look of a text, corrected by what the model says to have read.

    A prompt that was longer than estimated corrects at once. Downwards it takes several answers, and the
    estimate stays a tenth above the most that any of the latest had.
    """

    is_exact = False

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=_ANSWERS_REMEMBERED)
        self._scale = 1.0

    async def text(self, text: str) -> int:
        """Return how many tokens a text hardly exceeds."""
        return math.ceil(pieces_of(text) * self._scale)

    async def prompt(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a conversation hardly exceeds."""
        return math.ceil(_prompt_pieces(messages) * self._scale)

    def learn(self, messages: Sequence[Message], read: int) -> None:
        """Correct the estimate by a prompt of known length."""
        if read < _TELLING_TOKENS:
            return
        self._ratios.append(read / _prompt_pieces(messages))
        most = max(self._ratios) * _MARGIN
        if most > self._scale or len(self._ratios) >= _FEWEST_ANSWERS:
            self._scale = most


def pieces_of(text: str) -> int:
    """Return the pieces that a text falls into: what lies between its tokens and its bytes.

    Short pieces of words, digits and signs one by one, a run of blanks as one; beyond ASCII, its bytes.
    """
    return sum(
        1 if piece.isascii() or piece.isspace() else len(piece.encode("utf-8", "surrogatepass"))
        for piece in _PIECE.findall(text)
    )


def _prompt_pieces(messages: Sequence[Message]) -> int:
    # One more for what stands before them all, and for what begins the answer.
    return sum(pieces_of(message.text) for message in messages) + MESSAGE_TOKENS * (len(messages) + 1)
