"""One question, from the words to the kept answer.

The question is on disk before the model starts, what it says is kept as it comes, and whatever ends the
answer (the model, the user, a failure, the end of the process) is written down with it.
"""

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic

import anyio
from anyio import to_thread

from coding_assistant.chat.citations import ResolvedAnswer, resolve
from coding_assistant.chat.generation import Emit, Generation, internal_failure
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.prompt import (
    MESSAGE_OVERHEAD_TOKENS,
    Budget,
    ComposedPrompt,
    compose,
    number_sources,
    question_too_long,
    system_text,
)
from coding_assistant.chat.query import in_conversation
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import (
    Answer,
    AnswerFailed,
    AnswerFinished,
    CitationFound,
    Finish,
    GenerationEnded,
    GenerationRequest,
    ModelLoading,
    ModelSpec,
    Project,
    PromptRead,
    Reading,
    Receipt,
    Source,
    SourcesFound,
    TextDelta,
    TextPiece,
    Timings,
    Turn,
)
from coding_assistant.errors import Busy, CodingAssistantError, InvalidProject, places
from coding_assistant.inference.slots import SlotTable
from coding_assistant.protocols import Engine

logger = logging.getLogger(__name__)

MOST_SOURCES = 12
"""More chunks than this never fit into a source budget that a laptop reads with patience."""

SAVE_SECONDS = 1.0
"""How much of an answer's time a crash can cost."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is to be written; None takes the model's own setting."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question that is on disk, with all that its answer depends on."""

    session_id: str
    turn: Turn
    project: Project
    code: ProjectCode
    sampling: Sampling


@dataclass(slots=True)
class _Draft:
    """An answer while it is being made."""

    began: float = field(default_factory=monotonic)
    text: str = ""
    saved: float = field(default_factory=monotonic)
    receipt: Receipt | None = None
    shown: tuple[Source, ...] = ()
    searching: float = 0.0
    loading: float = 0.0
    first_token: float = 0.0
    ended: GenerationEnded | None = None

    def timings(self) -> Timings:
        """Return where the time went so far."""
        return Timings(
            searching=self.searching,
            loading=self.loading,
            reading=self.ended.reading_seconds if self.ended else 0.0,
            writing=self.ended.writing_seconds if self.ended else 0.0,
            first_token=self.first_token,
            total=monotonic() - self.began,
            written_tokens=self.ended.written_tokens if self.ended else 0,
        )


class Answering:
    """Answers questions with one engine, keeping every turn in the store."""

    def __init__(
        self,
        store: ConversationStore,
        engine: Engine,
        slots: SlotTable,
        spec: ModelSpec,
        *,
        source_tokens: int,
    ) -> None:
        self.engine = engine
        self.spec = spec
        self._store = store
        self._slots = slots
        self._source_tokens = source_tokens

    async def require_fit(self, question: str, project: Project, sampling: Sampling) -> None:
        """Raise ``QuestionTooLong`` for a question that the model could never read.

        No token is shorter than a byte, so the engine is asked only when the bytes do not settle it.
        """
        budget = self._budget(self.spec.context_length, sampling)
        system = self._system(project)
        if len((question + system).encode()) + 2 * MESSAGE_OVERHEAD_TOKENS <= budget.prompt:
            return
        info = await self.engine.load()
        budget = self._budget(info.context_tokens, sampling)
        front = len(await self.engine.tokenize(system)) + MESSAGE_OVERHEAD_TOKENS
        asked = len(await self.engine.tokenize(question)) + MESSAGE_OVERHEAD_TOKENS
        if front + asked > budget.prompt:
            raise question_too_long(asked, front=front, budget=budget)

    async def answer(self, asked: AskedQuestion, generation: Generation) -> None:
        """Answer a question to its end, whatever the end is; nothing is raised but cancellation."""
        draft = _Draft()
        finish = Finish.INTERRUPTED
        failure: AnswerFailed | None = None
        try:
            with generation.scope:
                finish = await self._produce(asked, draft, generation.emit)
            if generation.scope.cancelled_caught:
                finish = Finish.CANCELLED
        except CodingAssistantError as error:
            finish, failure = Finish.FAILED, _failure(error)
        except Exception as error:  # noqa: BLE001  -- whatever it was, the turn is to be kept as failed
            logger.error("answer %s failed: %s", asked.turn.id, places(error))  # noqa: TRY400
            finish, failure = Finish.FAILED, internal_failure()
        finally:
            with anyio.CancelScope(shield=True):
                await self._conclude(asked, draft, finish, failure, generation.emit)

    async def _produce(self, asked: AskedQuestion, draft: _Draft, emit: Emit) -> Finish:
        turn = asked.turn
        stats = await asked.code.refresh(emit)
        if not stats.files:
            raise InvalidProject(
                f"The folder of {asked.project.name} holds no file that can be read"
                f" ({sum(stats.skipped.values()):,} were passed over).",
                hint="`coding-assistant index` says why files are passed over.",
            )
        past = await to_thread.run_sync(
            lambda: self._store.turns(turn.conversation_id, before_number=turn.number)
        )
        text = in_conversation(turn.question, past)
        hits = await asked.code.find_sources(text.question, context=text.context, limit=MOST_SOURCES)
        sources = number_sources(hits, past, token_budget=self._source_tokens)
        draft.searching = monotonic() - draft.began
        emit(SourcesFound(sources))
        async with self._slots.lease(turn.conversation_id) as slot:
            info = await self._load(draft, emit)
            composed = await compose(
                self.engine,
                system=self._system(asked.project),
                past=past,
                question=turn.question,
                sources=sources,
                budget=self._budget(info, asked.sampling),
            )
            draft.receipt = _with_freshness(composed.receipt, files=stats.files, changed=stats.changed)
            draft.shown = composed.shown
            await to_thread.run_sync(self._store.set_sources, turn.id, composed.sources)
            return await self._write(asked, composed, slot, draft, emit)

    async def _load(self, draft: _Draft, emit: Emit) -> int:
        """Load the model if need be and return its context in tokens."""
        if not self.engine.is_loaded:
            emit(ModelLoading(self.engine.name))
        began = monotonic()
        info = await self.engine.load()
        draft.loading = monotonic() - began
        return info.context_tokens

    async def _write(
        self, asked: AskedQuestion, composed: ComposedPrompt, slot: int, draft: _Draft, emit: Emit
    ) -> Finish:
        sampling = asked.sampling
        request = GenerationRequest(
            tokens=composed.tokens,
            slot=slot,
            max_tokens=composed.receipt.reserved,
            temperature=self.spec.temperature if sampling.temperature is None else sampling.temperature,
            top_p=self.spec.top_p if sampling.top_p is None else sampling.top_p,
            stop=self.spec.stop_tokens,
        )
        report_reading = _reading_reporter(emit)
        report_reading(PromptRead(0, len(request.tokens), 0))
        async with aclosing(self.engine.generate(request)) as events:
            async for event in events:
                match event:
                    case PromptRead():
                        report_reading(event)
                    case TextPiece(text=text):
                        await self._keep(asked.turn, draft, text)
                        emit(TextDelta(text))
                    case GenerationEnded():
                        draft.ended = event
                        return event.finish
        raise AssertionError("a generation ends with GenerationEnded")

    async def _keep(self, turn: Turn, draft: _Draft, text: str) -> None:
        if not draft.text:
            draft.first_token = monotonic() - draft.began
        draft.text += text
        if monotonic() - draft.saved >= SAVE_SECONDS:
            draft.saved = monotonic()
            await to_thread.run_sync(self._store.save_partial, turn.id, draft.text)

    async def _conclude(
        self,
        asked: AskedQuestion,
        draft: _Draft,
        finish: Finish,
        failure: AnswerFailed | None,
        emit: Emit,
    ) -> None:
        """Write the answer down and tell how it ended."""
        try:
            resolved = await self._resolve(asked, draft)
            turn = await to_thread.run_sync(
                self._store.finish_turn, asked.turn.id, self._answer(draft, resolved, finish, failure)
            )
        except CodingAssistantError as error:
            emit(_failure(error))
            return
        if failure:
            emit(failure)
            return
        for citation in resolved.citations:
            emit(CitationFound(citation))
        emit(AnswerFinished(asked.session_id, turn))

    async def _resolve(self, asked: AskedQuestion, draft: _Draft) -> ResolvedAnswer:
        current = await asked.code.current_texts(source.chunk.path for source in draft.shown)
        return resolve(draft.text.strip(), draft.shown, current)

    def _answer(
        self, draft: _Draft, resolved: ResolvedAnswer, finish: Finish, failure: AnswerFailed | None
    ) -> Answer:
        return Answer(
            text=resolved.text,
            finish=finish,
            model=self.engine.name,
            finished_at=datetime.now(UTC),
            citations=resolved.citations,
            unknown_citations=resolved.unknown,
            receipt=_with_counts(draft.receipt, draft.ended),
            timings=draft.timings(),
            failure=failure.message if failure else "",
        )

    def _system(self, project: Project) -> str:
        return system_text(project.name, instructions=self.spec.system_prompt)

    def _budget(self, context_tokens: int, sampling: Sampling) -> Budget:
        """Return the budget; a reply may take half of the context at most, so that a prompt has room."""
        wanted = sampling.max_tokens or self.spec.max_tokens
        return Budget(limit=context_tokens, reserved=min(wanted, context_tokens // 2))


def _reading_reporter(emit: Emit) -> Callable[[PromptRead], None]:
    """Return a function that passes reading on with the time that remains, once there is a speed."""
    began = monotonic()

    def report(read: PromptRead) -> None:
        fresh = read.done - read.cached
        elapsed = monotonic() - began
        remaining = elapsed * (read.total - read.done) / fresh if fresh > 0 else None
        emit(Reading(read.done, read.total, read.cached, remaining))

    return report


def _with_freshness(receipt: Receipt, *, files: int, changed: int) -> Receipt:
    updated = f", {changed:,} of them read anew for this question" if changed else ""
    return replace(receipt, freshness=f"the index equals the working tree: {files:,} files{updated}")


def _with_counts(receipt: Receipt | None, ended: GenerationEnded | None) -> Receipt | None:
    if receipt is None or ended is None:
        return receipt
    return replace(receipt, cached=ended.cached_tokens, new=ended.new_tokens)


def _failure(error: CodingAssistantError) -> AnswerFailed:
    seconds = error.retry_after_seconds if isinstance(error, Busy) else None
    return AnswerFailed(error.code, error.message, error.hint, seconds)
