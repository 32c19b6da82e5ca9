"""One question, from the words to the kept answer.

The question is on disk before the model starts, what it says is kept as it comes, and whatever ends the
answer (the model, the user, a failure, the end of the process) is written down with it.
"""

import logging
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from time import monotonic

import anyio
from anyio import to_thread

from coding_assistant.chat.ahead import ReadingAhead
from coding_assistant.chat.citations import ResolvedAnswer, resolve
from coding_assistant.chat.compacting import Compacting
from coding_assistant.chat.deeper import Reach, deep_search_told
from coding_assistant.chat.draft import Draft
from coding_assistant.chat.edits import proposed_edits
from coding_assistant.chat.fronts import CodeAskedAbout, Fronts
from coding_assistant.chat.generation import Emit, Generation, internal_failure
from coding_assistant.chat.grounded_draft import begun_again, ground
from coding_assistant.chat.grounding import GroundingRules, grounded_question, question_note
from coding_assistant.chat.model import ChatModel, KeptConversation, front_digest, kept_conversation
from coding_assistant.chat.prompt import ComposedPrompt, compose, question_too_long
from coding_assistant.chat.reading_report import reading_reporter
from coding_assistant.chat.receipt import cold_reason
from coding_assistant.chat.rendering import MESSAGE_OVERHEAD_TOKENS
from coding_assistant.chat.retrieving import find_sources, needs_search
from coding_assistant.chat.store import ConversationStore
from coding_assistant.chat.work_kinds import work_note
from coding_assistant.domain import (
    AnswerFailed,
    AnswerFinished,
    AnswerRetracted,
    Chunk,
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
    ProposedEdits,
    ReasoningDelta,
    ReasoningPiece,
    Receipt,
    SearchedDeeper,
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
    """A question that is on disk, with all its answer depends on; ``way_back`` is said if no model loads.

    ``attached`` comes with it. ``is_deep``: it is to be searched for in further rounds. ``wants_diff``: code
    in the answer is to be told as a diff, too.
    """

    session_id: str
    turn: Turn
    about: CodeAskedAbout
    sampling: Sampling
    way_back: str = ""
    attached: tuple[Chunk, ...] = ()
    wants_diff: bool = False
    is_deep: bool = False


class Answering:
    """Answers questions with one model, keeping every turn in the store."""

    def __init__(
        self,
        store: ConversationStore,
        model: ChatModel,
        fronts: Fronts,
        ahead: ReadingAhead,
        compacting: Compacting,
        *,
        rules: GroundingRules | None = None,
    ) -> None:
        self.model = model
        self._rules = rules or GroundingRules()
        self._store = store
        self._fronts = fronts
        self._ahead = ahead
        self._compacting = compacting
        self._run_told = ""

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
                f"{asked.about.project.root} holds no file that can be read"
                f" ({sum(stats.skipped.values()):,} were passed over).",
                hint="Ask about another folder (`--project DIR`, or from inside of it); `coding-assistant"
                " index` says why files are passed over.",
            )
        kept = await to_thread.run_sync(
            lambda: kept_conversation(self._store, turn.conversation_id, before_number=turn.number)
        )
        sources = await self._find_sources(asked, kept, draft, emit)
        draft.searching = monotonic() - draft.began
        emit(SourcesFound(sources, searched=bool(asked.attached) or needs_search(turn.question, kept)))
        draft.question = await grounded_question(
            turn.question,
            asked.about.code,
            files=stats.files,
            sources=sources,
            makes_new=asked.wants_diff,
        )
        work = work_note(turn.question, asked.attached, wants_diff=asked.wants_diff)
        draft.note = "\n".join(filter(None, (work, question_note(draft.question, self._rules))))
        async with model.caches.lease(turn.conversation_id, on_wait=lambda n: emit(Waiting(n))) as lease:
            info = await self._load(draft, emit)
            if not kept.past:
                kept = await self._begun(asked, info)
            text = model.text(asked.about.project, kept, question=turn.question, sources=sources)
            text = replace(text, note=draft.note)
            is_warm = model.caches.is_warm(turn.conversation_id, info)
            cold = cold_reason(kept.models, model=model.engine.name, is_warm=is_warm)
            await lease.prepare(info, front=front_digest(text.system))
            composed = await compose(
                model.engine,
                text,
                budget=model.budget(info.context_tokens, max_tokens=asked.sampling.max_tokens),
                vocabulary=info.vocabulary,
                now=datetime.now(UTC),
            )
            receipt = replace(composed.receipt, cold=cold, search=draft.search)
            draft.receipt = _with_freshness(receipt, files=stats.files, changed=stats.changed)
            draft.shown, draft.sources = composed.shown, composed.sources
            draft.vocabulary = info.vocabulary
            await to_thread.run_sync(self._keep_prompt, turn, kept, composed, draft.note)
            if composed.summary:
                emit(Compacted(composed.summary))
            finish = await self._write(asked, composed, lease.slot, draft, emit)
            again = await self._taken_back(asked, composed, draft, emit)
            return await self._write(asked, again, lease.slot, draft, emit) if again else finish

    async def _find_sources(
        self, asked: AskedQuestion, kept: KeptConversation, draft: Draft, emit: Emit
    ) -> tuple[Source, ...]:
        """Return the question's sources; those read ahead for it come first, in the slot that it will get."""
        conversation_id, project_id = asked.turn.conversation_id, asked.about.project.id
        read = self._ahead.guess(conversation_id)
        if not kept.past and not read and (read := self._ahead.guess(project_id)):
            await self._ahead.hand_over(project_id, conversation_id)
        rounds: list[SearchedDeeper] = []

        def tell(searched: SearchedDeeper) -> None:
            rounds.append(searched)
            emit(searched)

        reach = Reach(self.model.source_budget(asked.turn.question), tell if asked.is_deep else None)
        sources = await find_sources(
            asked.turn.question,
            kept,
            asked.about.code,
            reach=reach,
            read=read,
            attached=asked.attached,
        )
        draft.search = deep_search_told(reach, rounds)
        if asked.attached:  # like the question, they are on the disk before the model starts
            await to_thread.run_sync(self._store.set_sources, asked.turn.id, sources)
        return sources

    async def _begun(self, asked: AskedQuestion, info: EngineInfo) -> KeptConversation:
        """Begin a conversation: what it is told of the project now, it is told for ever."""
        primer = await self._fronts.primer_for_new(asked.about, info, question=asked.turn.question)
        await to_thread.run_sync(self._store.set_primer, asked.turn.conversation_id, primer)
        return KeptConversation(primer)

    def _keep_prompt(self, turn: Turn, kept: KeptConversation, composed: ComposedPrompt, note: str) -> None:
        """Write down what the prompts to come depend on."""
        if summary := composed.summary:
            summarised = [each for each in kept.past if each.number <= summary.last_turn]
            self._store.add_summary(turn.conversation_id, summary, last_turn_id=summarised[-1].id)
        self._store.set_sources(turn.id, composed.sources)
        if note:
            self._store.set_note(turn.id, note)

    async def _load(self, draft: Draft, emit: Emit) -> EngineInfo:
        """Load the model if need be, and tell of a load that nobody was told of."""
        engine = self.model.engine
        is_new = not engine.is_loaded
        if is_new:
            emit(ModelLoading(engine.name))
        began = monotonic()
        info = await engine.load()
        draft.loading = monotonic() - began
        # Whoever had it loaded beforehand, for reading ahead or on request, has shown its notice to nobody.
        if is_new or (info.notice and info.run != self._run_told):
            emit(ModelLoaded(info))
        self._run_told = info.run
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
        report_reading = reading_reporter(emit, speed=self.model.speeds.of(self.model.engine.name))
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
                        draft.end(event)
                        draft.require_words(event)
                        return event.finish
        raise AssertionError("a generation ends with GenerationEnded")

    async def _taken_back(
        self, asked: AskedQuestion, composed: ComposedPrompt, draft: Draft, emit: Emit
    ) -> ComposedPrompt | None:
        """Take back an answer whose point is an invention, and return the prompt to ask again with."""
        again = await begun_again(draft, composed, self.model.engine, asked.about.code, self._rules)
        if again is not None:
            await to_thread.run_sync(self._store.set_note, asked.turn.id, draft.note)
            emit(AnswerRetracted(draft.grounding.taken_back))
        return again

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
            await ground(draft, asked.about.code, self._rules)
            current = await asked.about.code.current_texts(source.chunk.path for source in draft.shown)
            resolved = _resolved(asked, draft, current)
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
        edits: ProposedEdits | None = None
        if asked.wants_diff:
            edits = await to_thread.run_sync(proposed_edits, draft.text, draft.shown, current)
        emit(AnswerFinished(asked.session_id, turn, draft.reasoning.strip(), edits))
        self._compacting.note_answer(turn.conversation_id, asked.about.project)
        if draft.ended:
            read, seconds = draft.ended.new_tokens, draft.ended.reading_seconds
            await to_thread.run_sync(self.model.speeds.add, self.model.engine.name, read, seconds)


def _resolved(
    asked: AskedQuestion, draft: Draft, current: Mapping[PurePosixPath, str | None]
) -> ResolvedAnswer:
    best_first = {source.number: source for source in (*draft.sources, *draft.shown)}
    return resolve(
        draft.text.strip(),
        tuple(best_first.values()),
        current,
        question=asked.turn.question,
        says_nothing=draft.grounding.not_found,
    )


def _with_freshness(receipt: Receipt, *, files: int, changed: int) -> Receipt:
    updated = f", {changed:,} of them read anew for this question" if changed else ""
    return replace(receipt, freshness=f"the index equals the working tree: {files:,} files{updated}")


def _failure(error: CodingAssistantError, way_back: str = "") -> AnswerFailed:
    seconds = error.retry_after_seconds if isinstance(error, Busy) else None
    return AnswerFailed(error.code, error.message, f"{error.hint} {way_back}".strip(), seconds)
