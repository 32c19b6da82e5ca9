"""Answers in the making, each a task of its own.

A reader may leave and come back without missing anything: events are kept under their numbers until some
newer answers have ended. Only ``cancel`` stops an answer, and closing the whole lets none go on.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Literal, TypeAlias

import anyio
from anyio.abc import TaskGroup

from coding_assistant.domain import (
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    AnswerStarted,
    Finish,
    ReasoningDelta,
    Source,
    SourcesFound,
    TextDelta,
)
from coding_assistant.errors import ConversationBusy, GenerationNotFound, InternalFailure, places

logger = logging.getLogger(__name__)

Emit: TypeAlias = Callable[[AnswerEvent], None]
GenerationState: TypeAlias = Literal["running", "finished", "cancelled", "failed"]

ENDED_KEPT: Final = 64
"""At most so many ended answers can still be followed event by event; of the others the end can be read."""

ENDED_BYTES: Final = 4 * 2**20
"""So much of memory they take, about: an answer of 500 tokens with four sources takes 120 kB."""

ENDED_KEPT_ANYWAY: Final = 4
"""So many of the latest stay, however long they are: their readers may be about to come back."""

_EVENT_BYTES: Final = 160
_SOURCE_BYTES: Final = 1_000
_TOKEN_BYTES: Final = 36


class Generation:
    """One answer: its events so far, and the scope in which it is made."""

    def __init__(self, started: AnswerStarted) -> None:
        self.id = started.turn.id
        self.conversation_id = started.turn.conversation_id
        self.model = started.model
        self._events: list[AnswerEvent] = [started]
        self.held_bytes = 0
        self._grown = anyio.Event()
        self.scope = anyio.CancelScope()

    @property
    def last_event_id(self) -> int:
        """The number of the newest event; the first is 1."""
        return len(self._events)

    @property
    def state(self) -> GenerationState:
        """Where the answer stands."""
        match self._events[-1]:
            case AnswerFailed():
                return "failed"
            case AnswerFinished(turn=turn):
                was_cancelled = turn.answer is not None and turn.answer.finish is Finish.CANCELLED
                return "cancelled" if was_cancelled else "finished"
            case _:
                return "running"

    def emit(self, event: AnswerEvent) -> None:
        """Append an event and wake the readers."""
        self._events.append(event)
        self.held_bytes += _held_bytes(event)
        grown, self._grown = self._grown, anyio.Event()
        grown.set()

    async def stop(self) -> None:
        """Stop the answer, in whatever phase it is, and return when it has ended."""
        self.scope.cancel()
        await self.ended()

    async def ended(self) -> None:
        """Return when the last event is there."""
        while self.state == "running":
            await self._grown.wait()

    async def follow(self, *, after: int = 0) -> AsyncGenerator[tuple[int, AnswerEvent], None]:
        """Yield the events behind number ``after``, then each as it comes, until the last."""
        position = after
        while True:
            while position < len(self._events):
                position += 1
                yield position, self._events[position - 1]
            if self.state != "running":
                return
            await self._grown.wait()


class Generations:
    """All answers in the making, and the last that ended."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._by_id: dict[str, Generation] = {}

    def start(
        self, started: AnswerStarted, work: Callable[[Generation], Coroutine[None, None, None]]
    ) -> Generation:
        """Begin an answer; ``work`` emits its events, the last of them an end."""
        generation = Generation(started)
        self._by_id[generation.id] = generation
        self._forget_oldest()
        self._tasks.start_soon(_run, generation, work)
        return generation

    def find(self, generation_id: str) -> Generation | None:
        """Return an answer that runs or ended lately, if there is one with the id."""
        return self._by_id.get(generation_id)

    def get(self, generation_id: str) -> Generation:
        """Return an answer that runs or ended lately; ``GenerationNotFound`` otherwise."""
        generation = self.find(generation_id)
        if generation is None:
            raise no_generation(generation_id)
        return generation

    def running(self) -> list[Generation]:
        """Return the answers in the making."""
        return [each for each in self._by_id.values() if each.state == "running"]

    def running_in(self, conversation_id: str) -> Generation | None:
        """Return the conversation's answer in the making, if there is one."""
        return next((each for each in self.running() if each.conversation_id == conversation_id), None)

    def require_idle(self, conversation_id: str) -> None:
        """Raise ``ConversationBusy`` while the conversation's last question is being answered."""
        generation = self.running_in(conversation_id)
        if generation:
            raise ConversationBusy(
                "This conversation is still answering its previous question.",
                hint=f"Wait for it, or cancel it: generation {generation.id}.",
            )

    async def interrupt(self) -> None:
        """End all answers in the making, as the end of the process would, and wait until they are kept."""
        self._tasks.cancel_scope.cancel()
        for generation in self.running():
            await generation.ended()

    def _forget_oldest(self) -> None:
        ended = [each for each in self._by_id.values() if each.state != "running"]
        held = 0
        for place, generation in enumerate(reversed(ended)):
            held += generation.held_bytes
            if place >= ENDED_KEPT or (held > ENDED_BYTES and place >= ENDED_KEPT_ANYWAY):
                del self._by_id[generation.id]


def _held_bytes(event: AnswerEvent) -> int:
    """Return about how much memory an event takes."""
    match event:
        case TextDelta(text) | ReasoningDelta(text):
            return _EVENT_BYTES + len(text)
        case SourcesFound(sources):
            return _EVENT_BYTES + _bytes_of_sources(sources)
        case AnswerFinished(turn=turn, reasoning=reasoning):
            written = _TOKEN_BYTES * len(turn.answer.tokens) + len(turn.answer.text) if turn.answer else 0
            return _EVENT_BYTES + len(reasoning) + written + _bytes_of_sources(turn.sources)
        case _:
            return _EVENT_BYTES


def _bytes_of_sources(sources: Sequence[Source]) -> int:
    return sum(_SOURCE_BYTES + len(source.chunk.text) for source in sources)


async def _run(generation: Generation, work: Callable[[Generation], Coroutine[None, None, None]]) -> None:
    """Run an answer's work; whatever becomes of that, its readers get a last event."""
    try:
        await work(generation)
    except Exception as error:  # noqa: BLE001  -- the edge of a task that nobody awaits: others must go on
        logger.error("answer %s was not written down: %s", generation.id, places(error))  # noqa: TRY400
    finally:
        if generation.state == "running":
            generation.emit(internal_failure())


def no_generation(generation_id: str) -> GenerationNotFound:
    """Return the error for an id that no answer has."""
    return GenerationNotFound(
        f"No answer in the making has the id {generation_id}.",
        hint="An answer that ended stands in its conversation's history.",
    )


def internal_failure() -> AnswerFailed:
    """Return the last event of an answer that failed for no reason that was foreseen."""
    return AnswerFailed(
        InternalFailure.code,
        "The answer failed for a reason that is ours.",
        "The log has the places; please report them.",
    )


@asynccontextmanager
async def open_generations() -> AsyncGenerator[Generations, None]:
    """Hold answers in the making; leaving interrupts those that still run."""
    async with open_tasks() as tasks:
        yield Generations(tasks)


@asynccontextmanager
async def open_tasks() -> AsyncGenerator[TaskGroup, None]:
    """Hold tasks that raise nothing; leaving cancels them, and what the body raises stays as it is."""
    with _as_it_was_raised():
        async with anyio.create_task_group() as tasks:
            yield tasks
            tasks.cancel_scope.cancel()


@contextmanager
def _as_it_was_raised() -> Iterator[None]:
    """Undo the group that a task group puts around what its body raises; its tasks raise nothing."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            error = group.exceptions[0]
            raise error from error.__cause__
        raise
