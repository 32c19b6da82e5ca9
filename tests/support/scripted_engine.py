"""An engine without weights: it says what a script says, so that everything above a model can be tested.

It keeps the promises of ``protocols.Engine`` that the contract suite checks on it and on the real one:
control tokens come from the format alone, encoding is append-only, a slot remembers what it has read, and a
snapshot of it is a file.
"""

import json
import re
import uuid
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import anyio
import anyio.lowlevel

from coding_assistant.domain import (
    EngineEvent,
    EngineInfo,
    Finish,
    GenerationEnded,
    GenerationRequest,
    Message,
    ModelSpec,
    PromptRead,
    ReasoningPiece,
    TextPiece,
)
from coding_assistant.errors import CodingAssistantError, InvalidRequest, ModelMissing
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.prompt_format import CHATML, Control, Text, Tokens
from coding_assistant.protocols import Engine
from coding_assistant.settings import Settings

CONTROL_TOKENS = {name: number for number, name in enumerate(CHATML.controls, start=1)}
BATCH_TOKENS = 256

# A word with the space before it, or any other character: a real tokenizer's usual size of token.
_PIECE = re.compile(r" ?\w{1,8}|\s|[^\w\s]")
_FIRST_TEXT_TOKEN = 1_000
_TEXT_TOKENS = 2**30


@dataclass(frozen=True)
class Script:
    """One answer.

    ``reasoning`` is what is thought before the first word. ``waits`` stops before that until
    ``ScriptedEngine.go_on`` is called. ``fails`` is raised after ``fails_after`` pieces, as by an engine that
    dies. ``malformed`` ends the answer without the event that an answer has to end with.
    """

    text: str = "It is in [1]."
    reasoning: str = ""
    finish: Finish = Finish.COMPLETE
    waits: bool = False
    fails: CodingAssistantError | None = None
    fails_after: int = 0
    malformed: bool = False


def only(engine: Engine) -> Callable[[Catalog, ModelSpec, Settings], Engine]:
    """Return what makes an assistant answer with this engine, whichever model is asked for."""
    return lambda _catalog, _spec, _settings: engine


def by_name(*engines: Engine) -> Callable[[Catalog, ModelSpec, Settings], Engine]:
    """Return what makes an assistant answer with the engine of the model's name; the others are missing."""

    def make(_catalog: Catalog, spec: ModelSpec, _settings: Settings) -> Engine:
        for engine in engines:
            if engine.name == spec.name:
                return engine
        raise ModelMissing(f"The weights of {spec.name} are not on this machine.")

    return make


class ScriptedEngine:
    """``protocols.Engine``: answers the scripts in turn, and the last one for ever.

    ``requests`` are those that arrived; ``prompt_text`` shows what a request said. ``closed_early`` counts
    the answers whose reader left before the end. Snapshots lie in ``snapshot_folder``; without one there are
    none. ``saved`` and ``restored`` are their names, ``read_ahead`` the tokens of each ``read``, in order.
    """

    # Tokens mean the same to all of these engines, as to several runs of one model.
    _pieces: ClassVar[dict[int, str]] = {number: name for name, number in CONTROL_TOKENS.items()}

    def __init__(
        self,
        *scripts: Script | str,
        context_tokens: int = 8_192,
        slots: int = 2,
        load_fails: CodingAssistantError | None = None,
        snapshot_folder: Path | None = None,
        name: str = "scripted",
    ) -> None:
        self._scripts = [Script(each) if isinstance(each, str) else each for each in scripts] or [Script()]
        self._info = EngineInfo(
            name,
            context_tokens,
            slots,
            vocabulary="scripted",
            snapshots=_fingerprint(name) if snapshot_folder is not None else "",
        )
        self._snapshots = snapshot_folder
        self._load_fails = load_fails
        self._loaded = False
        self._gate = anyio.Event()
        self._read: dict[int, tuple[int, ...]] = {}
        self.requests: list[GenerationRequest] = []
        self.waiting = anyio.Event()
        self.closed_early = 0
        self.saved: list[str] = []
        self.restored: list[str] = []
        self.read_ahead: list[tuple[int, ...]] = []

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
        if not self._loaded:
            self._info = replace(self._info, run=uuid.uuid4().hex)
            self._loaded = True
        return self._info

    async def tokenize(self, text: str) -> tuple[int, ...]:
        await self.load()
        return tuple(self._number(piece) for piece in _PIECE.findall(text))

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        await self.load()
        tokens: list[int] = []
        for stretch in CHATML.stretches([_without_control_tokens(message) for message in messages]):
            for segment in stretch:
                match segment:
                    case Control(name):
                        tokens.append(CONTROL_TOKENS[name])
                    case Tokens(written):
                        tokens += written
                    case Text(text):
                        tokens += await self.tokenize(text)
        return tuple(tokens)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        await self.load()
        self._check(request.tokens, request.slot)
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

    async def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
        await self.load()
        self._check(tokens, slot)
        self.read_ahead.append(tuple(tokens))
        async for read in self._reading(tuple(tokens), slot):
            yield read

    async def save_slot(self, slot: int, name: str) -> int:
        self._check((), slot)
        await anyio.lowlevel.checkpoint()
        held = self._read.get(slot, ())
        if self._snapshots is None or not held:
            return 0
        self._snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._snapshots / name
        file.write_text(json.dumps(held), encoding="ascii")
        self.saved.append(name)
        return file.stat().st_size

    async def restore_slot(self, slot: int, name: str) -> int:
        self._check((), slot)
        await anyio.lowlevel.checkpoint()
        if not self._loaded:
            return 0
        if held := self._snapshot(name):
            self._read[slot] = held
            self.restored.append(name)
        return len(held)

    async def erase_slot(self, slot: int) -> None:
        self._check((), slot)
        await anyio.lowlevel.checkpoint()
        self._read.pop(slot, None)

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

    def held(self, slot: int) -> str:
        """Return what a slot has read and written, control tokens by their names."""
        return "".join(self._pieces[token] for token in self._read.get(slot, ()))

    def _check(self, tokens: Sequence[int], slot: int) -> None:
        if not 0 <= slot < self._info.slots:
            raise InvalidRequest(f"There is no slot {slot}.")
        if len(tokens) >= self._info.context_tokens:
            raise InvalidRequest(
                f"The prompt has {len(tokens):,} tokens, the context holds {self._info.context_tokens:,}."
            )

    def _snapshot(self, name: str) -> tuple[int, ...]:
        if self._snapshots is None:
            return ()
        try:
            return tuple(json.loads((self._snapshots / name).read_text(encoding="ascii")))
        except (OSError, ValueError):
            return ()

    async def _reading(self, tokens: tuple[int, ...], slot: int) -> AsyncGenerator[PromptRead, None]:
        total = len(tokens)
        # The last token is always read anew: what follows it is what is asked for.
        cached = min(_common_prefix(self._read.get(slot, ()), tokens), total - 1)
        for done in (*range(cached, total, BATCH_TOKENS), total):
            await anyio.lowlevel.checkpoint()
            self._read[slot] = tokens[:done]
            yield PromptRead(done, total, cached)

    async def _answer(self, request: GenerationRequest, script: Script) -> AsyncGenerator[EngineEvent, None]:
        total, cached = len(request.tokens), 0
        async for read in self._reading(request.tokens, request.slot):
            cached = read.cached
            yield read
        if script.waits:
            self.waiting.set()
            await self._gate.wait()
        written = 0
        thoughts, said = _PIECE.findall(script.reasoning), _PIECE.findall(script.text)
        pieces = [*thoughts, *said]
        for piece in pieces[: request.max_tokens]:
            if script.fails is not None and written == script.fails_after:
                raise script.fails
            await anyio.lowlevel.checkpoint()
            token = self._number(piece)
            self._read[request.slot] += (token,)
            written += 1
            yield ReasoningPiece(piece) if written <= len(thoughts) else TextPiece(piece, (token,))
        if script.fails is not None:
            raise script.fails
        if not script.malformed:
            finish = script.finish if written == len(pieces) else Finish.LENGTH
            yield GenerationEnded(finish, cached, total - cached, written, 0.25, 0.5)

    def _number(self, piece: str) -> int:
        number = _FIRST_TEXT_TOKEN + zlib.crc32(piece.encode()) % _TEXT_TOKENS
        self._pieces[number] = piece
        return number


def _fingerprint(name: str) -> str:
    return "5c1bed" if name == "scripted" else f"{zlib.crc32(name.encode()):x}"


def _without_control_tokens(message: Message) -> Message:
    if any(token in CONTROL_TOKENS.values() for token in message.tokens):
        return replace(message, tokens=())
    return message


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length
