"""The calls that ask: a question's way to its conversation, and from there to the model."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic

from anyio import to_thread
from anyio.abc import TaskGroup

from coding_assistant import contract
from coding_assistant.assistant.chats import Chat, Chats, MakeEngine, reference
from coding_assistant.assistant.codes import Codes
from coding_assistant.assistant.conversations import ConversationCalls
from coding_assistant.assistant.folders import require_folder
from coding_assistant.assistant.kept_answers import kept_events, kept_generation
from coding_assistant.assistant.remote import remains_elsewhere
from coding_assistant.chat.ahead import Draft
from coding_assistant.chat.ask import AskedQuestion, Sampling
from coding_assistant.chat.attachments import attached_chunks
from coding_assistant.chat.fronts import CodeAskedAbout
from coding_assistant.chat.generation import Generation, Generations, no_generation
from coding_assistant.chat.model import kept_conversation
from coding_assistant.chat.receipt import Forecast, cold_reason, forecast
from coding_assistant.chat.rendering import models_answering
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import AnswerStarted, Conversation, Project, Turn
from coding_assistant.errors import (
    CodingAssistantError,
    ConversationElsewhere,
    NotFound,
    ProjectNotFound,
    error_from,
)
from coding_assistant.project.commit import head_commit
from coding_assistant.settings import Settings

SHARED_SECONDS = 60.0
"""Who asked within this time counts as somebody who uses the model now."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a question belongs."""

    session_id: str
    conversation: Conversation
    project: Project


class QuestionCalls(ConversationCalls):
    """Questions, answers in the making, and what the model reads ahead."""

    def __init__(
        self,
        settings: Settings,
        store: ConversationStore,
        generations: Generations,
        tasks: TaskGroup,
        *,
        make_engine: MakeEngine,
    ) -> None:
        self._settings = settings
        self._codes = Codes(settings)
        self._chats = Chats(settings, store, self._codes.asked_about, tasks, make_engine=make_engine)
        super().__init__(
            store,
            generations,
            self._chats.attention,
            forget=self._chats.forget,
            forecast=self._forecast_of,
            remains=remains_elsewhere(settings),
        )
        self._asked_at: dict[str, float] = {}  # by session
        self._default_project: Project | None = None

    async def ask(
        self, request: contract.QueryRequest, *, idempotency_key: str = ""
    ) -> AsyncGenerator[contract.StreamEvent, None]:
        """Ask; closing the generator leaves the answer going on, ``cancel`` stops it.

        Everything that can be refused is refused before the first event. Asked again under the same key, a
        question gets the answer that it got or is getting.
        """
        generation_id = await self.begin(request, idempotency_key=idempotency_key)
        async with aclosing(self.follow(generation_id)) as events:
            async for event in events:
                yield event

    async def begin(self, request: contract.QueryRequest, *, idempotency_key: str = "") -> str:
        """Write the question down, start its answer and return the generation's id.

        The model is the one that the request names, which the conversation then goes on with; else the one
        that was chosen for the conversation; else the settings'. A question so long that only the model's own
        count can tell whether it fits loads the model first. Raises ``KeyReused`` for a key that came with
        another question.
        """
        digest = _digest(request)
        if known := await self._turn_of_key(idempotency_key, digest):
            return known.id
        sampling = Sampling(request.max_tokens, request.temperature, request.top_p)
        chat = await self._chat_for(request.model, request.conversation_id)
        about = await self._asked_about_in(request.project, request.conversation_id)
        named = [each.attached for each in request.attachments]
        attached = await to_thread.run_sync(attached_chunks, about.project.root, named)
        async with chat.resident.in_use():
            await chat.parts.answering.require_fit(request.query, about.project, sampling)
        commit = await to_thread.run_sync(head_commit, about.project.root)
        async with self._changing:
            if known := await self._turn_of_key(idempotency_key, digest):  # sent twice at the same time
                return known.id
            begun = [each for each in self._generations.running() if each.model == chat.name]
            chat.parts.model.caches.require_room(len(begun))
            place = await self._place(request, about.project)
            self._generations.require_idle(place.conversation.id)
            if request.model is not None:
                await self._choose_model(place.conversation, reference(chat.spec, request.model))
            turn = await to_thread.run_sync(
                lambda: self._store.begin_turn(
                    place.conversation.id,
                    request.query,
                    model=chat.name,
                    commit=commit,
                    idempotency_key=idempotency_key,
                    request_digest=digest,
                )
            )
            self._asked_at = {**self._asking_lately(), place.session_id: monotonic()}
            way_back = _way_back(chat) if request.model or place.conversation.model else ""
            asked = AskedQuestion(
                place.session_id, turn, about, sampling, way_back, attached, request.diff, request.deep
            )
            started = AnswerStarted(place.session_id, turn, chat.name)
            generation = self._generations.start(started, lambda made: _answer(chat, asked, made))
        return generation.id

    async def _turn_of_key(self, key: str, digest: str) -> Turn | None:
        if not key:
            return None
        return await to_thread.run_sync(lambda: self._store.turn_of_key(key, request_digest=digest))

    async def prefetch(self, request: contract.PrefetchRequest) -> None:
        """Have the model read ahead for a question that is being typed; returns at once.

        Nothing is read while a question is answered, nor where several people share the model.
        """
        chat = await self._chat_for(request.model, request.conversation_id)
        about = await self._asked_about_in(request.project, request.conversation_id)
        if request.conversation_id is not None:
            conversation = await to_thread.run_sync(self._store.conversation, request.conversation_id)
            _require_same_project(conversation, about.project)
        if len(self._asking_lately()) <= 1:
            chat.resident.note_use()
            chat.parts.ahead.offer(Draft(request.text, about, request.conversation_id))

    def _asking_lately(self) -> dict[str, float]:
        """Return the sessions that asked lately, and when."""
        now = monotonic()
        return {each: at for each, at in self._asked_at.items() if now - at < SHARED_SECONDS}

    async def query(
        self, request: contract.QueryRequest, *, idempotency_key: str = ""
    ) -> contract.QueryResponse:
        """Ask and return the whole answer; a failed answer raises its error."""
        async with aclosing(self.ask(request, idempotency_key=idempotency_key)) as events:
            async for event in events:
                match event.data:
                    case contract.QueryResponse() as response:
                        return response
                    case contract.ErrorEvent() as failed:
                        raise error_from(
                            failed.code,
                            failed.detail,
                            failed.hint,
                            retry_after_seconds=failed.retry_after_seconds,
                        )
        raise AssertionError("an answer ends with its response or an error")

    async def follow(
        self, generation_id: str, *, after: int = 0
    ) -> AsyncGenerator[contract.StreamEvent, None]:
        """Yield an answer's events behind number ``after`` until its last.

        Of an answer that ended long ago, or before a restart, what is kept comes.
        """
        generation = self._generations.find(generation_id)
        if generation is None:
            turn = await self._kept_turn(generation_id)
            conversation = await to_thread.run_sync(self._store.conversation, turn.conversation_id)
            for kept in kept_events(conversation.session_id, turn, after=after):
                yield kept
            return
        async with aclosing(generation.follow(after=after)) as events:
            async for number, event in events:
                yield contract.StreamEvent(id=number, data=contract.event_data(event))

    async def generation(self, generation_id: str) -> contract.GenerationView:
        """Return where an answer stands."""
        generation = self._generations.find(generation_id)
        if generation is None:
            return kept_generation(await self._kept_turn(generation_id))
        return contract.GenerationView(
            generation_id=generation.id,
            conversation_id=generation.conversation_id,
            message_id=contract.answer_message_id(generation.id),
            state=generation.state,
            last_event_id=generation.last_event_id,
        )

    async def _kept_turn(self, generation_id: str) -> Turn:
        """Return the turn of an answer that nobody makes any more."""
        try:
            return await to_thread.run_sync(self._store.turn, generation_id)
        except NotFound as error:
            raise no_generation(generation_id) from error

    async def cancel(self, generation_id: str) -> None:
        """Stop an answer, keep what there is of it, and return when the model has stopped."""
        await self._generations.get(generation_id).stop()

    async def change_conversation(
        self, conversation_id: str, patch: contract.ConversationPatch
    ) -> contract.ConversationView:
        """Rename, pin or archive a conversation, or choose the model that it goes on with.

        Raises what a question to that model would raise before it is asked: ``ModelUnknown``,
        ``ModelMissing``.
        """
        if "model" not in patch.model_fields_set:
            return await super().change_conversation(conversation_id, patch)
        conversation = await to_thread.run_sync(self._store.conversation, conversation_id)
        chosen = patch.model and reference((await self._chats.of(patch.model)).spec, patch.model)
        await self._choose_model(conversation, chosen)
        return await super().change_conversation(conversation_id, patch)

    async def _choose_model(self, conversation: Conversation, model: str | None) -> None:
        if conversation.model != model:
            await to_thread.run_sync(self._store.choose_model, conversation.id, model)

    async def _chat_for(self, model: str | None, conversation_id: str | None) -> Chat:
        """Return the chat with the model that is named, else with the conversation's, else the settings'."""
        if model is None and conversation_id is not None:
            model = (await to_thread.run_sync(self._store.conversation, conversation_id)).model
        return await self._chats.of(model)

    async def _forecast_of(self, conversation: Conversation) -> contract.ForecastView | None:
        """Return what the next question finds; None while there is no model."""
        try:
            chat = await self._chats.of(conversation.model)
        except CodingAssistantError:
            return None
        project = await to_thread.run_sync(self._store.project, conversation.project_id)
        kept = await to_thread.run_sync(kept_conversation, self._store, conversation.id)
        model, info = chat.parts.model, chat.resident.last_info
        budget = model.budget(info.context_tokens if info else None)
        found = forecast(model.text(project, kept), budget=budget)
        is_warm = info is not None and model.caches.is_warm(conversation.id, info)
        cold = cold_reason(kept.models, model=chat.name, is_warm=is_warm)
        cached: int | None = 0
        if is_warm:  # of what another model has answered since, how much is not known
            cached = found.held if chat.name in models_answering(kept.past[-1:]) else None
        elif info is None and (not kept.past or chat.name in kept.models):
            cached, cold = None, ""  # which snapshots are of use shows when the model is loaded
        return _forecast_view(found, model=chat.name, cached=cached, cold=cold)

    async def _asked_about_in(self, project: str | None, conversation_id: str | None) -> CodeAskedAbout:
        """Return the project that is named, or the conversation's, or the first one."""
        found = await self._named_project(project, conversation_id)
        await to_thread.run_sync(require_folder, found)
        return self._codes.ask_about(found)

    async def _named_project(self, project: str | None, conversation_id: str | None) -> Project:
        if project is not None:
            return await to_thread.run_sync(self._store.project, project)
        if conversation_id is not None:
            conversation = await to_thread.run_sync(self._store.conversation, conversation_id)
            return await to_thread.run_sync(self._store.project, conversation.project_id)
        if self._default_project is None:
            raise ProjectNotFound(
                "No project is named, and the assistant was started without one.",
                hint="Name one in `project`, or start the server with --project DIR.",
            )
        return self._default_project

    async def _place(self, request: contract.QueryRequest, project: Project) -> _Place:
        """Return the conversation that the question continues or begins."""
        if request.conversation_id is not None:
            conversation = await to_thread.run_sync(self._store.conversation, request.conversation_id)
            if request.session_id not in {None, conversation.session_id}:
                await to_thread.run_sync(self._store.session, request.session_id)
                raise ConversationElsewhere(
                    "The conversation belongs to another session.",
                    hint="Send the conversation's own session, or the conversation alone.",
                )
            _require_same_project(conversation, project)
            return _Place(conversation.session_id, conversation, project)
        if request.session_id is not None:
            session = await to_thread.run_sync(self._store.session, request.session_id)
        else:
            session = await to_thread.run_sync(self._store.create_session)
        conversation = await to_thread.run_sync(
            lambda: self._store.create_conversation(session_id=session.id, project_id=project.id)
        )
        return _Place(session.id, conversation, project)


def _require_same_project(conversation: Conversation, project: Project) -> None:
    if conversation.project_id != project.id:
        raise ConversationElsewhere(
            "The conversation is about another project.",
            hint="Begin a new conversation to ask about this one.",
        )


async def _answer(chat: Chat, asked: AskedQuestion, generation: Generation) -> None:
    async with chat.answering(generation.emit):
        await chat.parts.answering.answer(asked, generation)


def _way_back(chat: Chat) -> str:
    """Return what to tell of a model that was chosen for the conversation, should it not come to answer."""
    return f"The conversation goes on with {chat.name}: choose another model, or `/model -` for the usual."


def _digest(request: contract.QueryRequest) -> str:
    """Return what two requests share that ask the same."""
    return hashlib.sha256(request.model_dump_json(exclude={"stream"}).encode()).hexdigest()


def _forecast_view(found: Forecast, *, model: str, cached: int | None, cold: str) -> contract.ForecastView:
    return contract.ForecastView(
        model=model,
        limit=found.limit,
        reserved=found.reserved,
        held=found.held,
        room=found.room,
        exact=found.is_exact,
        cached=cached,
        cold=cold,
        compaction_near=found.is_compaction_near,
    )
