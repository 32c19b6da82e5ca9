"""One question, from the words to the kept answer.

The question is on disk before the model starts, what it says is kept as it comes, and whatever ends the
answer (the model, the user, a failure, the end of the process) is written down with it.
"""

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic

import anyio
from anyio import to_thread

from coding_assistant.chat.ahead import ReadingAhead
from coding_assistant.chat.citations import ResolvedAnswer, resolve
from coding_assistant.chat.compacting import Compacting
from coding_assistant.chat.draft import Draft
from coding_assistant.chat.fronts import CodeAskedAbout, Fronts
from coding_assistant.chat.generation import Emit, Generation, internal_failure
from coding_assistant.chat.model import ChatModel, KeptConversation, front_digest, kept_conversation
from coding_assistant.chat.prompt import ComposedPrompt, compose, question_too_long
from coding_assistant.chat.receipt import cold_reason
from coding_assistant.chat.rendering import MESSAGE_OVERHEAD_TOKENS
from coding_assistant.chat.retrieving import find_sources, needs_search
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import (
    AnswerFailed,
    AnswerFinished,
    CitationFound,
    Compacted,
    EngineInfo,
    Finish,
    GenerationEnded,
    GenerationRequest,
    ModelLoaded,
    ModelLoading,
    Project,
    PromptRead,
    Reading,
    ReasoningDelta,
    ReasoningPiece,
    Receipt,
    Source,
    SourcesFound,
    TextDelta,
    TextPiece,
    Turn,
    Waiting,
)
from coding_assistant.errors import Busy, CodingAssistantError, InvalidProject, places

logger = logging.getLogger(__name__)

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
    """A question that is on disk, with all its answer depends on; ``way_back`` is said if no model loads."""

    session_id: str
    turn: Turn
    about: CodeAskedAbout
    sampling: Sampling
    way_back: str = ""


class Answering:
    """Answers questions with one model, keeping every turn in the store."""

    def __init__(
        self,
        store: ConversationStore,
        model: ChatModel,
        fronts: Fronts,
        ahead: ReadingAhead,
        compacting: Compacting,
    ) -> None:
        self.model = model
        self._store = store
        self._fronts = fronts
        self._ahead = ahead
        self._compacting = compacting

    async def require_fit(self, question: str, project: Project, sampling: Sampling) -> None:
        """Raise ``QuestionTooLong`` for a question that the model could never read.

        No token is shorter than a byte, so the engine is asked only when the bytes do not settle it.
        """
        model, engine = self.model, self.model.engine
        budget = model.budget(max_tokens=sampling.max_tokens)
        system = model.system(project)
        if len((question + system).encode()) + 2 * MESSAGE_OVERHEAD_TOKENS <= budget.prompt:
            return
        info = await engine.load()
        budget = model.budget(info.context_tokens, max_tokens=sampling.max_tokens)
        front = len(await engine.tokenize(system)) + MESSAGE_OVERHEAD_TOKENS
        asked = len(await engine.tokenize(question)) + MESSAGE_OVERHEAD_TOKENS
        if front + asked > budget.prompt:
            raise question_too_long(asked, front=front, budget=budget)

    async def answer(self, asked: AskedQuestion, generation: Generation) -> None:
        """Answer a question to its end, whatever the end is; nothing is raised but cancellation."""
        draft = Draft()
        finish = Finish.INTERRUPTED
        failure: AnswerFailed | None = None
        try:
            with generation.scope:
                finish = await self._produce(asked, draft, generation.emit)
            if generation.scope.cancelled_caught:
                finish = Finish.CANCELLED
        except CodingAssistantError as error:
            way_back = "" if self.model.engine.is_loaded else asked.way_back
            finish, failure = Finish.FAILED, _failure(error, way_back)
        except Exception as error:  # noqa: BLE001  -- whatever it was, the turn is to be kept as failed
            logger.error("answer %s failed: %s", asked.turn.id, places(error))  # noqa: TRY400
            finish, failure = Finish.FAILED, internal_failure()
        finally:
            with anyio.CancelScope(shield=True):
                await self._conclude(asked, draft, finish, failure, generation.emit)

    async def _produce(self, asked: AskedQuestion, draft: Draft, emit: Emit) -> Finish:
        turn, model = asked.turn, self.model
        stats = await asked.about.code.refresh(emit)
        if not stats.files:
            raise InvalidProject(
                f"The folder of {asked.about.project.name} holds no file that can be read"
                f" ({sum(stats.skipped.values()):,} were passed over).",
                hint="`coding-assistant index` says why files are passed over.",
            )
        kept = await to_thread.run_sync(
            lambda: kept_conversation(self._store, turn.conversation_id, before_number=turn.number)
        )
        sources = await self._find_sources(asked, kept)
        draft.searching = monotonic() - draft.began
        emit(SourcesFound(sources, searched=needs_search(turn.question, kept)))
        async with model.caches.lease(turn.conversation_id, on_wait=lambda n: emit(Waiting(n))) as lease:
            info = await self._load(draft, emit)
            if not kept.past:
                kept = await self._begun(asked, info)
            text = model.text(asked.about.project, kept, question=turn.question, sources=sources)
            is_warm = model.caches.is_warm(turn.conversation_id, info)
            cold = cold_reason(kept.past, model=model.engine.name, is_warm=is_warm)
            await lease.prepare(info, front=front_digest(text.system))
            composed = await compose(
                model.engine,
                text,
                budget=model.budget(info.context_tokens, max_tokens=asked.sampling.max_tokens),
                vocabulary=info.vocabulary,
                now=datetime.now(UTC),
            )
            receipt = replace(composed.receipt, cold=cold)
            draft.receipt = _with_freshness(receipt, files=stats.files, changed=stats.changed)
            draft.shown = composed.shown
            draft.vocabulary = info.vocabulary
            await to_thread.run_sync(self._keep_prompt, turn, kept, composed)
            if composed.summary:
                emit(Compacted(composed.summary))
            return await self._write(asked, composed, lease.slot, draft, emit)

    async def _find_sources(self, asked: AskedQuestion, kept: KeptConversation) -> tuple[Source, ...]:
        """Return the question's sources; those read ahead for it come first, in the slot that it will get."""
        conversation_id, project_id = asked.turn.conversation_id, asked.about.project.id
        read = self._ahead.guess(conversation_id)
        if not kept.past and not read and (read := self._ahead.guess(project_id)):
            await self._ahead.hand_over(project_id, conversation_id)
        budget = self.model.source_budget(asked.turn.question)
        return await find_sources(asked.turn.question, kept, asked.about.code, token_budget=budget, read=read)

    async def _begun(self, asked: AskedQuestion, info: EngineInfo) -> KeptConversation:
        """Begin a conversation: what it is told of the project now, it is told for ever."""
        primer = await self._fronts.primer_for_new(asked.about, info, question=asked.turn.question)
        await to_thread.run_sync(self._store.set_primer, asked.turn.conversation_id, primer)
        return KeptConversation(primer)

    def _keep_prompt(self, turn: Turn, kept: KeptConversation, composed: ComposedPrompt) -> None:
        """Write down what the prompts to come depend on."""
        if summary := composed.summary:
            summarised = [each for each in kept.past if each.number <= summary.last_turn]
            self._store.add_summary(turn.conversation_id, summary, last_turn_id=summarised[-1].id)
        self._store.set_sources(turn.id, composed.sources)

    async def _load(self, draft: Draft, emit: Emit) -> EngineInfo:
        """Load the model if need be."""
        engine = self.model.engine
        is_new = not engine.is_loaded
        if is_new:
            emit(ModelLoading(engine.name))
        began = monotonic()
        info = await engine.load()
        draft.loading = monotonic() - began
        if is_new:
            emit(ModelLoaded(info))
        return info

    async def _write(
        self, asked: AskedQuestion, composed: ComposedPrompt, slot: int, draft: Draft, emit: Emit
    ) -> Finish:
        spec, sampling = self.model.spec, asked.sampling
        request = GenerationRequest(
            tokens=composed.tokens,
            slot=slot,
            max_tokens=composed.receipt.reserved,
            temperature=spec.temperature if sampling.temperature is None else sampling.temperature,
            top_p=spec.top_p if sampling.top_p is None else sampling.top_p,
            stop=spec.stop_tokens,
            messages=composed.messages,
        )
        report_reading = _reading_reporter(emit, speed=self.model.speeds.of(self.model.engine.name))
        report_reading(PromptRead(0, len(request.tokens), 0))
        async with aclosing(self.model.engine.generate(request)) as events:
            async for event in events:
                match event:
                    case PromptRead():
                        report_reading(event)
                    case ReasoningPiece():
                        draft.note_first_token()
                        draft.note_thought(event)
                        emit(ReasoningDelta(event.text))
                    case TextPiece():
                        await self._keep(asked.turn, draft, event)
                        emit(TextDelta(event.text))
                    case GenerationEnded():
                        draft.ended = event
                        draft.require_words(event)
                        return event.finish
        raise AssertionError("a generation ends with GenerationEnded")

    async def _keep(self, turn: Turn, draft: Draft, piece: TextPiece) -> None:
        draft.note_first_token()
        draft.text += piece.text
        # With a hole in them, the model would read another answer than it wrote.
        draft.are_tokens_known &= bool(piece.tokens)
        draft.tokens = draft.tokens + piece.tokens if draft.are_tokens_known else ()
        if monotonic() - draft.saved >= SAVE_SECONDS:
            draft.saved = monotonic()
            await to_thread.run_sync(
                lambda: self._store.save_partial(
                    turn.id, draft.text, tokens=draft.tokens, vocabulary=draft.vocabulary
                )
            )

    async def _conclude(
        self,
        asked: AskedQuestion,
        draft: Draft,
        finish: Finish,
        failure: AnswerFailed | None,
        emit: Emit,
    ) -> None:
        """Write the answer down and tell how it ended."""
        try:
            resolved = await self._resolve(asked, draft)
            answer = draft.answer(
                resolved, finish, model=self.model.engine.name, failure=failure.message if failure else ""
            )
            turn = await to_thread.run_sync(self._store.finish_turn, asked.turn.id, answer)
            if failure and failure.retry_after_seconds is not None:  # whoever comes again is to be answered
                await to_thread.run_sync(self._store.release_key, turn.id)
        except CodingAssistantError as error:
            emit(_failure(error))
            return
        if failure:
            emit(failure)
            return
        for citation in resolved.citations:
            emit(CitationFound(citation))
        emit(AnswerFinished(asked.session_id, turn, draft.reasoning.strip()))
        self._compacting.note_answer(turn.conversation_id, asked.about.project)
        if draft.ended:
            read, seconds = draft.ended.new_tokens, draft.ended.reading_seconds
            await to_thread.run_sync(self.model.speeds.add, self.model.engine.name, read, seconds)

    async def _resolve(self, asked: AskedQuestion, draft: Draft) -> ResolvedAnswer:
        current = await asked.about.code.current_texts(source.chunk.path for source in draft.shown)
        return resolve(draft.text.strip(), draft.shown, current)


def _reading_reporter(emit: Emit, *, speed: float | None) -> Callable[[PromptRead], None]:
    """Return a function that passes reading on with the time that remains.

    ``speed`` is what this machine has read in a second before; the present reading's own counts as soon as
    there is one.
    """
    began = monotonic()

    def report(read: PromptRead) -> None:
        fresh = read.done - read.cached
        per_second = fresh / (monotonic() - began) if fresh > 0 else speed
        remaining = (read.total - read.done) / per_second if per_second else None
        emit(Reading(read.done, read.total, read.cached, remaining))

    return report


def _with_freshness(receipt: Receipt, *, files: int, changed: int) -> Receipt:
    updated = f", {changed:,} of them read anew for this question" if changed else ""
    return replace(receipt, freshness=f"the index equals the working tree: {files:,} files{updated}")


def _failure(error: CodingAssistantError, way_back: str = "") -> AnswerFailed:
    seconds = error.retry_after_seconds if isinstance(error, Busy) else None
    return AnswerFailed(error.code, error.message, f"{error.hint} {way_back}".strip(), seconds)
