"""The product as one object; the only place where its parts are wired.

A skin that asks holds one of these, or a ``RemoteAssistant`` with the same calls. It speaks the contract's
words upwards and the domain's downwards.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from coding_assistant import contract
from coding_assistant.assistant.background import BackgroundRefresh
from coding_assistant.assistant.conversations import ConversationCalls
from coding_assistant.assistant.folders import index_folder, search_folder
from coding_assistant.assistant.wiring import (
    chosen_model,
    make_embedder,
    make_engine,
    open_catalog,
    project_code,
)
from coding_assistant.chat.ask import Answering, AskedQuestion, Sampling
from coding_assistant.chat.generation import Generations, as_it_was_raised, open_generations
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.store import ConversationStore
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import AnswerStarted, Conversation, ModelSpec, Project, SearchMode
from coding_assistant.errors import (
    CodingAssistantError,
    ConversationElsewhere,
    ProjectNotFound,
    error_from,
)
from coding_assistant.inference.slots import SlotTable
from coding_assistant.project import walk
from coding_assistant.protocols import Embedder, Engine
from coding_assistant.settings import Settings


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a question belongs."""

    session_id: str
    conversation: Conversation
    project: Project


class AsyncAssistant(ConversationCalls):
    """A private coding assistant over one data directory. Made by ``open``."""

    def __init__(
        self,
        settings: Settings,
        store: ConversationStore,
        generations: Generations,
        *,
        engine: Engine | None,
    ) -> None:
        super().__init__(store, generations)
        self._settings = settings
        self._engine = engine
        self._answering: Answering | None = None
        self._wiring = anyio.Lock()
        self._embedder: Embedder | None = None
        self._codes: dict[Path, ProjectCode] = {}
        self._asked_about: dict[Path, ProjectCode] = {}
        self._default_project: Project | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        *,
        purpose: str = "assistant",
        url: str | None = None,
        engine: Engine | None = None,
    ) -> "AsyncGenerator[AsyncAssistant, None]":
        """Open the data directory for this process alone; leaving interrupts answers and frees the model.

        ``purpose`` and ``url`` tell other processes who holds it. The model is loaded at the first
        question; ``engine`` replaces it. Raises ``DataDirectoryLocked``, ``DataDirectoryUnusable``,
        ``DatabaseDamaged`` or ``DatabaseTooNew``.
        """
        directory = DataDirectory(settings.home)
        with directory.hold(purpose, url):
            store = await to_thread.run_sync(ConversationStore.open, directory.conversations_file)
            try:
                await to_thread.run_sync(store.mark_interrupted)
                async with open_generations() as generations:
                    assistant = cls(settings, store, generations, engine=engine)
                    try:
                        yield assistant
                    finally:
                        with anyio.CancelScope(shield=True):
                            await generations.interrupt()
                            await assistant._close()
            finally:
                store.close()

    @asynccontextmanager
    async def keeping_fresh(self) -> AsyncGenerator[None, None]:
        """Bring indexes up to date in the background: of folders added or asked about since the start."""
        refresh = BackgroundRefresh(
            lambda: list(self._asked_about.values()),
            is_busy=lambda: bool(self._generations.running()),
            unheeded=[self._settings.home],
        )
        with as_it_was_raised():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(refresh.run)
                yield
                tasks.cancel_scope.cancel()

    async def _close(self) -> None:
        if self._answering:
            await self._answering.engine.close()
        for code in self._codes.values():
            await code.close()
        if self._embedder:
            await to_thread.run_sync(self._embedder.close)

    # --- Questions ----------------------------------------------------------------------------

    async def ask(self, request: contract.QueryRequest) -> AsyncGenerator[contract.StreamEvent, None]:
        """Ask; closing the generator leaves the answer going on, ``cancel`` stops it.

        Everything that can be refused is refused before the first event.
        """
        generation_id = await self.begin(request)
        async with aclosing(self.follow(generation_id)) as events:
            async for event in events:
                yield event

    async def begin(self, request: contract.QueryRequest) -> str:
        """Write the question down, start its answer and return the generation's id.

        A question so long that only the model's own count can tell whether it fits loads the model first.
        """
        sampling = Sampling(request.max_tokens, request.temperature, request.top_p)
        answering = await self._ready_answering()
        project = await self._project_of(request.project, request.conversation_id)
        await answering.require_fit(request.query, project, sampling)
        async with self._changing:
            place = await self._place(request, project)
            self._generations.require_idle(place.conversation.id)
            turn = await to_thread.run_sync(
                lambda: self._store.begin_turn(
                    place.conversation.id, request.query, model=answering.engine.name
                )
            )
            asked = AskedQuestion(place.session_id, turn, project, self.code(project.root), sampling)
            started = AnswerStarted(place.session_id, turn, answering.engine.name)
            generation = self._generations.start(started, lambda made: answering.answer(asked, made))
        return generation.id

    async def query(self, request: contract.QueryRequest) -> contract.QueryResponse:
        """Ask and return the whole answer; a failed answer raises its error."""
        async with aclosing(self.ask(request)) as events:
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
        """Yield an answer's events behind number ``after`` until its last."""
        generation = self._generations.get(generation_id)
        async with aclosing(generation.follow(after=after)) as events:
            async for number, event in events:
                yield contract.StreamEvent(id=number, data=contract.event_data(event))

    async def generation(self, generation_id: str) -> contract.GenerationView:
        """Return where an answer stands."""
        generation = self._generations.get(generation_id)
        return contract.GenerationView(
            generation_id=generation.id,
            conversation_id=generation.conversation_id,
            message_id=contract.answer_message_id(generation.id),
            state=generation.state,
            last_event_id=generation.last_event_id,
        )

    async def cancel(self, generation_id: str) -> None:
        """Stop an answer, keep what there is of it, and return when the model has stopped."""
        await self._generations.get(generation_id).stop()

    async def _ready_answering(self) -> Answering:
        """Return the answering, made at the first question so that a model can be fetched until then."""
        async with self._wiring:
            if self._answering is None:
                spec, engine = await to_thread.run_sync(self._make_engine)
                slots = SlotTable(self._settings.slots, patience_seconds=self._settings.patience_seconds)
                self._answering = Answering(
                    self._store, engine, slots, spec, source_tokens=self._settings.source_tokens
                )
            return self._answering

    def _make_engine(self) -> tuple[ModelSpec, Engine]:
        catalog = open_catalog(self._settings)
        spec = chosen_model(catalog, self._settings)
        return spec, self._engine or make_engine(catalog, spec, self._settings)

    async def _project_of(self, project: str | None, conversation_id: str | None) -> Project:
        """Return the project that is named, or the conversation's, or the first one."""
        found = await self._named_project(project, conversation_id)
        self._asked_about[found.root] = self.code(found.root)
        return found

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
            if conversation.project_id != project.id:
                raise ConversationElsewhere(
                    "The conversation is about another project.",
                    hint="Begin a new conversation to ask about this one.",
                )
            return _Place(conversation.session_id, conversation, project)
        if request.session_id is not None:
            session = await to_thread.run_sync(self._store.session, request.session_id)
        else:
            session = await to_thread.run_sync(self._store.create_session)
        conversation = await to_thread.run_sync(
            lambda: self._store.create_conversation(session_id=session.id, project_id=project.id)
        )
        return _Place(session.id, conversation, project)

    # --- Projects and search ------------------------------------------------------------------

    def code(self, root: Path) -> ProjectCode:
        """Return the code of a folder; there is one for each."""
        if not self._codes:  # not sooner: what needs no code works without an embedder's model
            self._embedder = make_embedder(self._settings)
        if root not in self._codes:
            self._codes[root] = project_code(self._settings, root, self._embedder)
        return self._codes[root]

    async def add_project(self, root: str) -> contract.ProjectView:
        """Make a folder known; the first one is asked about where no project is named."""
        folder = await to_thread.run_sync(walk.open_root, Path(root))
        project = await to_thread.run_sync(
            lambda: self._store.add_project(folder, folder.name or str(folder))
        )
        self._default_project = self._default_project or project
        self._asked_about[project.root] = self.code(project.root)
        return await self._project_view(project)

    async def project(self, id_or_name: str) -> contract.ProjectView:
        """Return one known folder."""
        return await self._project_view(await to_thread.run_sync(self._store.project, id_or_name))

    async def projects(self) -> list[contract.ProjectView]:
        """Return the known folders."""
        return [await self._project_view(each) for each in await to_thread.run_sync(self._store.projects)]

    async def index(
        self, project: str
    ) -> AsyncGenerator[contract.IndexingEvent | contract.IndexReport, None]:
        """Bring a project's index up to date; closing the generator stops, what is done stays done."""
        known = await to_thread.run_sync(self._store.project, project)
        async with aclosing(index_folder(self.code(known.root), known.name)) as events:
            async for event in events:
                yield event

    async def search(
        self, query: str, *, project: str | None, limit: int, mode: SearchMode = SearchMode.HYBRID
    ) -> list[contract.HitView]:
        """Return the chunks that bear on a query, best first, from an index that is up to date."""
        known = await self._project_of(project, None)
        return await search_folder(self.code(known.root), query, limit=limit, mode=mode)

    async def _project_view(self, project: Project) -> contract.ProjectView:
        try:
            counts = await self.code(project.root).counts()
        except CodingAssistantError:
            counts = None  # one index that cannot be opened must not hide the other projects
        return contract.ProjectView.of(project, counts)

    # --- Models -------------------------------------------------------------------------------

    async def models(self) -> list[contract.ModelView]:
        """Return the catalog, with what is installed, selected and loaded; a chosen file comes last."""
        return await to_thread.run_sync(self._model_views)

    def _model_views(self) -> list[contract.ModelView]:
        catalog = open_catalog(self._settings)
        answering = self._answering
        chosen = answering.spec if answering else chosen_model(catalog, self._settings)
        specs = {spec.name: spec for spec in catalog.specs} | {chosen.name: chosen}
        return [
            contract.ModelView.of(
                spec,
                catalog.file_of(spec),
                selected=spec is chosen,
                loaded=spec is chosen and answering is not None and answering.engine.is_loaded,
            )
            for spec in specs.values()
        ]

    async def readiness(self) -> contract.ReadinessView:
        """Return whether the model is loaded or its file is here to be loaded."""
        if self._engine is not None or (self._answering and self._answering.engine.is_loaded):
            return contract.ReadinessView(ready=True, problems=[])
        try:
            await to_thread.run_sync(self._make_engine)
        except CodingAssistantError as error:
            return contract.ReadinessView(ready=False, problems=[f"{error.message} {error.hint}".strip()])
        return contract.ReadinessView(ready=True, problems=[])
