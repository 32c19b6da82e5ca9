"""The product as one object; the only place where its parts are wired.

A skin that asks holds one of these, or a ``RemoteAssistant`` with the same calls. It speaks the contract's
words upwards and the domain's downwards.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from coding_assistant import contract
from coding_assistant.assistant.background import BackgroundRefresh
from coding_assistant.assistant.folders import index_folder, search_folder
from coding_assistant.assistant.questions import QuestionCalls
from coding_assistant.assistant.wiring import chosen_model, open_catalog
from coding_assistant.chat.generation import open_generations, open_tasks
from coding_assistant.chat.store import ConversationStore
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import Project, SearchMode
from coding_assistant.errors import CodingAssistantError
from coding_assistant.project import walk
from coding_assistant.protocols import Engine
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
                async with open_tasks() as tasks, open_generations() as generations:
                    assistant = cls(settings, store, generations, tasks, engine=engine)
                    await assistant.empty_trash()
                    await assistant.forget_strays()
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
        if self._chat:
            await self._chat.close()
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
        """Return the catalog, with what is installed, selected and loaded; a chosen file comes last."""
        return await to_thread.run_sync(self._model_views)

    def _model_views(self) -> list[contract.ModelView]:
        catalog = open_catalog(self._settings)
        model = self._chat.model if self._chat else None
        chosen = model.spec if model else chosen_model(catalog, self._settings)
        specs = {spec.name: spec for spec in catalog.specs} | {chosen.name: chosen}
        return [
            contract.ModelView.of(
                spec,
                catalog.file_of(spec),
                selected=spec is chosen,
                loaded=spec is chosen and model is not None and model.engine.is_loaded,
            )
            for spec in specs.values()
        ]

    async def readiness(self) -> contract.ReadinessView:
        """Return whether the model is loaded or its file is here to be loaded."""
        if self._engine is not None or (self._chat and self._chat.model.engine.is_loaded):
            return contract.ReadinessView(ready=True, problems=[])
        try:
            await to_thread.run_sync(self._make_engine)
        except CodingAssistantError as error:
            return contract.ReadinessView(ready=False, problems=[f"{error.message} {error.hint}".strip()])
        return contract.ReadinessView(ready=True, problems=[])
