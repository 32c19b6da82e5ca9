"""The slots of one server: prompts into them piece by piece, answers and snapshots out of them.

A prompt is sent in pieces, so that stopping means to send no further one: a server that was given the whole
reads on for a batch or two after its reader has left. Knows nothing of conversations.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from coding_assistant.domain import EngineEvent, GenerationEnded, GenerationRequest, PromptRead, TextPiece
from coding_assistant.errors import EngineFailed
from coding_assistant.inference import seals
from coding_assistant.inference.server_answers import Timings
from coding_assistant.inference.server_client import ServerClient, ServerLost

# A slot is to be free within a second of its reader's leaving. Each piece costs a request, some 3 ms,
# whatever its size.
PIECE_SECONDS: Final = 0.7
# llama.cpp's attention takes 64 tokens at once; fewer it takes one after the other. At a depth of 1,500
# tokens 1.5 billion parameters read 48 tokens a second in steps of 64, 38 in steps of 48 and 34 in steps of
# 32; 135 million at 3,000 tokens 103, 61 and 61.
PIECE_STEP_TOKENS: Final = 64
# A piece of which most was in the slot already does not tell the speed.
_TELLING_TOKENS: Final = 8

# Added to a snapshot's name while it is written.
_UNFINISHED: Final = ".part"


class ServerSlots:
    """Reads into the slots of one server and writes from them.

    Of what a slot holds, the beginning is known: to send a piece that is shorter would cut off the rest.
    ``written_out`` are control tokens whose names are to stand in the answers.
    """

    def __init__(self, client: ServerClient, *, written_out: Sequence[str] = ()) -> None:
        self._client = client
        self._written_out = written_out
        self._pace = Pace()
        self._held: dict[int, tuple[int, ...]] = {}

    async def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
        """Read tokens into a slot; see ``protocols.Engine.read``."""
        reading = _Reading(tuple(tokens))
        async with aclosing(self._read_pieces(reading, slot)) as pieces:
            async for read in pieces:
                yield read
        yield await self._read_piece(reading, slot, end=len(tokens))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Continue the prompt, its last piece being read with that; see ``protocols.Engine.generate``."""
        reading = _Reading(request.tokens)
        async with aclosing(self._read_pieces(reading, request.slot)) as pieces:
            async for read in pieces:
                yield read
        async with aclosing(self._client.complete(request, written_out=self._written_out)) as events:
            async for event in events:
                match event:
                    case PromptRead():
                        yield reading.with_pieces_read(event)
                    case TextPiece():
                        self._held[request.slot] = reading.with_written(event)
                        yield event
                    case GenerationEnded():
                        yield reading.with_pieces_ended(event)

    async def save(self, slot: int, file: Path, *, identity: str) -> int:
        """Write what a slot holds to a file, which appears under its name only when it is whole.

        Returns its bytes; 0 when there is nothing to save, or no room on the disk, and then there is no file.
        """
        unfinished = file.with_name(file.name + _UNFINISHED)
        written = await self._client.save_slot(slot, unfinished.name)
        finish = partial(_finish, unfinished, file, identity=identity, written=written)
        return await anyio.to_thread.run_sync(partial(finish, tokens=self._held.get(slot, ())))

    async def restore(self, slot: int, file: Path, *, identity: str) -> int:
        """Have a slot hold what the file says and return its tokens; 0 if that is no snapshot of ours."""
        tokens = await anyio.to_thread.run_sync(seals.sealed_tokens, file, identity)
        if tokens is None:
            return 0
        self._held[slot] = ()
        try:
            restored = await self._client.restore_slot(slot, file.name)
        except EngineFailed:
            return 0
        except ServerLost:
            # Should the file be what ended the server, it must not do so again.
            await anyio.Path(file).unlink(missing_ok=True)
            raise
        self._held[slot] = tokens
        return restored

    async def erase(self, slot: int) -> None:
        """Have a slot forget what it holds."""
        await self._client.erase_slot(slot)
        self._held[slot] = ()

    async def _read_pieces(self, reading: "_Reading", slot: int) -> AsyncGenerator[PromptRead, None]:
        """Read all but the last piece of what a slot does not hold already."""
        total = len(reading.tokens)
        known = _common_length(self._held.get(slot, ()), reading.tokens)
        self._held[slot] = reading.tokens[:known]
        if total - known > self._pace.piece_tokens:
            yield PromptRead(known, total, known)
        while (end := known + self._pace.piece_tokens) < total:
            yield await self._read_piece(reading, slot, end=end)
            known = end

    async def _read_piece(self, reading: "_Reading", slot: int, *, end: int) -> PromptRead:
        timings = await self._client.read(reading.tokens[:end], slot=slot)
        self._held[slot] = reading.tokens[:end]
        self._pace.note(timings)
        return reading.with_piece(end, timings)


class Pace:
    """How many tokens a server reads in ``PIECE_SECONDS``, by the last piece that it read."""

    def __init__(self) -> None:
        self.piece_tokens = PIECE_STEP_TOKENS

    def note(self, timings: Timings) -> None:
        """Learn from a piece."""
        if timings.prompt_n >= _TELLING_TOKENS and timings.prompt_ms > 0:
            read_in_time = timings.prompt_n * 1000 * PIECE_SECONDS / timings.prompt_ms
            self.piece_tokens = PIECE_STEP_TOKENS * max(1, int(read_in_time / PIECE_STEP_TOKENS))


class _Reading:
    """A prompt on its way into a slot, what its pieces add up to, and the answer as far as it is known."""

    def __init__(self, tokens: tuple[int, ...]) -> None:
        self.tokens = tokens
        self._cached: int | None = None
        self._new = 0
        self._seconds = 0.0
        self._is_answer_known = True

    def with_piece(self, end: int, timings: Timings) -> PromptRead:
        """Add a piece that ends there."""
        if self._cached is None:
            self._cached = timings.cache_n
        self._new += timings.prompt_n
        self._seconds += timings.prompt_ms / 1000
        return PromptRead(end, len(self.tokens), self._cached)

    def with_pieces_read(self, last: PromptRead) -> PromptRead:
        """Tell of the last piece as a part of the whole."""
        return last if self._cached is None else replace(last, cached=self._cached)

    def with_written(self, piece: TextPiece) -> tuple[int, ...]:
        """Add a piece of the answer; return the prompt and the answer as far as their tokens are known."""
        self._is_answer_known = self._is_answer_known and bool(piece.tokens)
        if self._is_answer_known:
            self.tokens += piece.tokens
        return self.tokens

    def with_pieces_ended(self, end: GenerationEnded) -> GenerationEnded:
        """Count the pieces in."""
        if self._cached is None:
            return end
        return replace(
            end,
            cached_tokens=self._cached,
            new_tokens=self._new + end.new_tokens,
            reading_seconds=self._seconds + end.reading_seconds,
        )


def _common_length(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(left), len(right)))


def _finish(unfinished: Path, file: Path, *, identity: str, written: int, tokens: Sequence[int]) -> int:
    """Seal what the server has written and give it its name; return its bytes, 0 for what is no snapshot.

    A full disk is no reason to fail an answer: then there is no snapshot.
    """
    try:
        if written and unfinished.stat().st_size == written:
            size = seals.seal(unfinished, identity, tokens)
            unfinished.replace(file)
            return size
    except OSError:
        pass
    with suppress(OSError):
        unfinished.unlink()
    return 0
