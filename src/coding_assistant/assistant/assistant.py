"""The product as one object; the only place where its parts are wired.

A skin that asks holds one of these, or a ``RemoteAssistant`` with the same calls. It speaks the contract's
words upwards and the domain's downwards.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
from anyio import to_thread

from coding_assistant import contract
from coding_assistant.assistant.background import BackgroundRefresh
from coding_assistant.assistant.chats import MakeEngine
from coding_assistant.assistant.folders import index_folder, search_folder
from coding_assistant.assistant.questions import QuestionCalls
from coding_assistant.assistant.sizing import memory_plan
from coding_assistant.assistant.wiring import make_engine, open_catalog
from coding_assistant.chat.generation import open_generations, open_tasks
from coding_assistant.chat.store import ConversationStore
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import ModelSpec, Project, Residence, SearchMode
from coding_assistant.errors import CodingAssistantError
from coding_assistant.inference.catalog import Catalog
from coding_assistant.project import walk
from coding_assistant.settings import Settings

logger = logging.getLogger(__name__)

TRASH_SECONDS = 3600.0
"""What is in the trash goes after 30 days; an hour more does not matter."""


class AsyncAssistant(QuestionCalls):
    """A private coding assistant over one data directory. Made by ``open``."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        *,
        purpose: str = "assistant",
        url: str | None = None,
        make_engine: MakeEngine = make_engine,
    ) -> "AsyncGenerator[AsyncAssistant, None]":
        """Open the data directory for this process alone; leaving interrupts answers and frees the models.

        ``purpose`` and ``url`` tell other processes who holds it. A model is loaded at the first question to
        it, by the engine that ``make_engine`` returns for it. Raises ``DataDirectoryLocked``,
        ``DataDirectoryUnusable``, ``DatabaseDamaged`` or ``DatabaseTooNew``.
        """
        directory = DataDirectory(settings.home)
        with directory.hold(purpose, url):
            store = await to_thread.run_sync(ConversationStore.open, directory.conversations_file)
            try:
                await to_thread.run_sync(store.mark_interrupted)
                async with open_tasks() as tasks, open_generations() as generations:
                    assistant = cls(settings, store, generations, tasks, make_engine=make_engine)
                    await assistant.empty_trash()
                    await assistant._chats.forget_strays()
                    tasks.start_soon(assistant._chats.keep_unloading_unused)
                    try:
                        yield assistant
                    finally:
                        with anyio.CancelScope(shield=True):
                            tasks.cancel_scope.cancel()
                            await generations.interrupt()
                            await assistant._close()
            finally:
                store.close()

    @asynccontextmanager
    async def keeping_fresh(self) -> AsyncGenerator[None, None]:
        """Do in the background what a server that runs for weeks must.

        Indexes are brought up to date, of folders added or asked about since the start, and the trash is
        emptied.
        """
        refresh = BackgroundRefresh(
            lambda: [asked.code for asked in self._codes.asked_about()],
            is_busy=lambda: bool(self._generations.running()),
            unheeded=[self._settings.home],
        )
        async with open_tasks() as tasks:
            tasks.start_soon(refresh.run)
            tasks.start_soon(self._empty_trash_now_and_then)
            yield

    async def _empty_trash_now_and_then(self) -> None:
        while True:
            await anyio.sleep(TRASH_SECONDS)
            try:
                await self.empty_trash()
            except CodingAssistantError as error:
                logger.warning("the trash was not emptied: %s", error.code)

    async def _close(self) -> None:
        await self._chats.close()
        await self._codes.close()

    # --- Projects and search ------------------------------------------------------------------

    async def add_project(self, root: str) -> contract.ProjectView:
        """Make a folder known; the first one is asked about where no project is named."""
        folder = await to_thread.run_sync(walk.open_root, Path(root))
        project = await to_thread.run_sync(
            lambda: self._store.add_project(folder, folder.name or str(folder))
        )
        self._default_project = self._default_project or project
        self._codes.ask_about(project)
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
        async with aclosing(index_folder(self._codes.of(known.root), known.name)) as events:
            async for event in events:
                yield event

    async def search(
        self, query: str, *, project: str | None, limit: int, mode: SearchMode = SearchMode.HYBRID
    ) -> list[contract.HitView]:
        """Return the chunks that bear on a query, best first, from an index that is up to date."""
        about = await self._asked_about_in(project, None)
        return await search_folder(about.code, query, limit=limit, mode=mode)

    async def _project_view(self, project: Project) -> contract.ProjectView:
        try:
            code = self._codes.of(project.root)
            counts, embedded = await code.counts(), await code.count_with_vectors()
        except CodingAssistantError:
            counts, embedded = None, 0  # one index that cannot be opened must not hide the other projects
        return contract.ProjectView.of(project, counts, embedder=self._settings.embedder, embedded=embedded)

    # --- Models -------------------------------------------------------------------------------

    async def models(self) -> list[contract.ModelView]:
        """Return the models that can be chosen: the catalog's, what other programs have, and files in use.

        Where a server elsewhere answers, none of this machine can be chosen: then those in use are all.
        """
        catalog = await to_thread.run_sync(open_catalog, self._settings)
        selected = await self._chats.spec_of(None)
        used = (selected, *(chat.spec for chat in self._chats.made()))
        found = [] if selected.address else await to_thread.run_sync(catalog.found_specs)
        known = () if selected.address else (*catalog.specs, *found)
        specs = {(spec.name, spec.path): spec for spec in (*known, *used)}
        # To plan for a model its header is read, 0.1 s each: of other programs' many only for those in use.
        unplanned = {(spec.name, spec.path) for spec in found} - {(spec.name, spec.path) for spec in used}
        return [
            await self._model_view(spec, catalog, selected, is_planned=key not in unplanned)
            for key, spec in specs.items()
        ]

    async def model(self, name: str) -> contract.ModelView:
        """Return one model, by its name or path; ``ModelUnknown`` with a suggestion."""
        catalog = await to_thread.run_sync(open_catalog, self._settings)
        spec, selected = await self._chats.spec_of(name), await self._chats.spec_of(None)
        return await self._model_view(spec, catalog, selected)

    async def load_model(self, name: str) -> contract.ModelView:
        """Have a model ready for the next question, and return once it is; what nobody uses makes way.

        Raises ``ModelUnknown``, ``ModelMissing``, ``NotEnoughMemory`` or ``EngineBusy``.
        """
        spec = await self._chats.spec_of(name)
        chat = self._chats.made_with(spec) or await self._chats.of(name)
        async with chat.resident.in_use():
            await chat.resident.load()
        return await self.model(name)

    async def unload_model(self, name: str) -> contract.ModelView:
        """Give a model's memory back, what it has read saved; ``EngineBusy`` while it answers."""
        chat = self._chats.made_with(await self._chats.spec_of(name))
        if chat:  # otherwise nobody has asked for it since the start
            await self._chats.unload(chat)
        return await self.model(name)

    async def _model_view(
        self, spec: ModelSpec, catalog: Catalog, selected: ModelSpec, *, is_planned: bool = True
    ) -> contract.ModelView:
        chat = self._chats.made_with(spec)
        residence = await chat.resident.residence() if chat else Residence()
        if residence.plan is None and is_planned:
            plan = await to_thread.run_sync(memory_plan, spec, catalog, self._settings)
            residence = replace(residence, plan=plan)
        return contract.ModelView.of(
            spec,
            await to_thread.run_sync(catalog.file_of, spec),
            selected=(spec.name, spec.path) == (selected.name, selected.path),
            residence=residence,
        )

    async def readiness(self) -> contract.ReadinessView:
        """Return whether the model is loaded or its file is here to be loaded."""
        try:
            await self._chats.require_usable()
        except CodingAssistantError as error:
            return contract.ReadinessView(ready=False, problems=[f"{error.message} {error.hint}".strip()])
        return contract.ReadinessView(ready=True, problems=[])
