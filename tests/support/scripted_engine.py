"""An engine without weights: it says what a script says, so that everything above a model can be tested.

It keeps the promises of ``protocols.Engine`` that the contract suite checks on it and on the real one:
control tokens come from the format alone, encoding is append-only, a slot remembers what it has read.
"""

import re
import zlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import anyio
import anyio.lowlevel

from coding_assistant.domain import (
    EngineEvent,
    EngineInfo,
    Finish,
    GenerationEnded,
    GenerationRequest,
    Message,
    PromptRead,
    TextPiece,
)
from coding_assistant.errors import CodingAssistantError, InvalidRequest
from coding_assistant.inference.prompt_format import CHATML, Control, Text

CONTROL_TOKENS = {name: number for number, name in enumerate(CHATML.controls, start=1)}
BATCH_TOKENS = 256

# A word with the space before it, or any other character: a real tokenizer's usual size of token.
_PIECE = re.compile(r" ?\w{1,8}|\s|[^\w\s]")
_FIRST_TEXT_TOKEN = 1_000
_TEXT_TOKENS = 2**30


@dataclass(frozen=True)
class Script:
    """One answer.

    ``waits`` stops before the first word until ``ScriptedEngine.go_on`` is called. ``fails`` is raised
    after ``fails_after`` pieces, as by an engine that dies. ``malformed`` ends the answer without the
    event that an answer has to end with.
    """

    text: str = "It is in [1]."
    finish: Finish = Finish.COMPLETE
    waits: bool = False
    fails: CodingAssistantError | None = None
    fails_after: int = 0
    malformed: bool = False


class ScriptedEngine:
    """``protocols.Engine``: answers the scripts in turn, and the last one for ever.

    ``requests`` are those that arrived; ``prompt_text`` shows what a request said. ``closed_early`` counts
    the answers whose reader left before the end.
    """

    def __init__(
        self,
        *scripts: Script | str,
        context_tokens: int = 8_192,
        slots: int = 2,
        load_fails: CodingAssistantError | None = None,
    ) -> None:
        self._scripts = [Script(each) if isinstance(each, str) else each for each in scripts] or [Script()]
        self._info = EngineInfo("scripted", context_tokens, slots)
        self._load_fails = load_fails
        self._loaded = False
        self._gate = anyio.Event()
        self._pieces = {number: name for name, number in CONTROL_TOKENS.items()}
        self._read: dict[int, tuple[int, ...]] = {}
        self.requests: list[GenerationRequest] = []
        self.waiting = anyio.Event()
        self.closed_early = 0

    @property
    def name(self) -> str:
        return self._info.model

    @property
    def is_loaded(self) -> bool:
        return self._loaded

    async def load(self) -> EngineInfo:
        await anyio.lowlevel.checkpoint()
        if self._load_fails is not None:
            raise self._load_fails
        self._loaded = True
        return self._info

    async def tokenize(self, text: str) -> tuple[int, ...]:
        await self.load()
        return tuple(self._number(piece) for piece in _PIECE.findall(text))

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        await self.load()
        tokens: list[int] = []
        for stretch in CHATML.stretches(messages):
            for segment in stretch:
                match segment:
                    case Control(name):
                        tokens.append(CONTROL_TOKENS[name])
                    case Text(text):
                        tokens += await self.tokenize(text)
        return tuple(tokens)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        await self.load()
        self._check(request)
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(request)
        finished = False
        try:
            async for event in self._answer(request, script):
                yield event
            finished = True
        except CodingAssistantError:
            finished = True
            raise
        finally:
            self.closed_early += not finished

    async def close(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._loaded = False
        self._read.clear()

    def go_on(self) -> None:
        """Let every answer that waits, and every later one, be written."""
        self._gate.set()

    def prompt_text(self, request: GenerationRequest) -> str:
        """Return what the model was shown, control tokens by their names."""
        return "".join(self._pieces[token] for token in request.tokens)

    def _check(self, request: GenerationRequest) -> None:
        if not 0 <= request.slot < self._info.slots:
            raise InvalidRequest(f"There is no slot {request.slot}.")
        if len(request.tokens) >= self._info.context_tokens:
            raise InvalidRequest(
                f"The prompt has {len(request.tokens):,} tokens, "
                f"the context holds {self._info.context_tokens:,}."
            )

    async def _answer(self, request: GenerationRequest, script: Script) -> AsyncGenerator[EngineEvent, None]:
        total = len(request.tokens)
        # The last token is always read anew: what follows it is what is asked for.
        cached = min(_common_prefix(self._read.get(request.slot, ()), request.tokens), total - 1)
        for done in (*range(cached, total, BATCH_TOKENS), total):
            await anyio.lowlevel.checkpoint()
            self._read[request.slot] = request.tokens[:done]
            yield PromptRead(done, total, cached)
        if script.waits:
            self.waiting.set()
            await self._gate.wait()
        written = 0
        pieces = _PIECE.findall(script.text)
        for piece in pieces[: request.max_tokens]:
            if script.fails is not None and written == script.fails_after:
                raise script.fails
            await anyio.lowlevel.checkpoint()
            self._read[request.slot] += (self._number(piece),)
            written += 1
            yield TextPiece(piece)
        if script.fails is not None:
            raise script.fails
        if not script.malformed:
            finish = script.finish if written == len(pieces) else Finish.LENGTH
            yield GenerationEnded(finish, cached, total - cached, written, 0.25, 0.5)

    def _number(self, piece: str) -> int:
        number = _FIRST_TEXT_TOKEN + zlib.crc32(piece.encode()) % _TEXT_TOKENS
        self._pieces[number] = piece
        return number


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length
