"""The folders' code that this process has open: one index each, all with one embedder."""

from pathlib import Path

from anyio import to_thread

from coding_assistant.assistant.wiring import make_embedder, project_code
from coding_assistant.chat.fronts import CodeAskedAbout
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.domain import Project
from coding_assistant.protocols import Embedder
from coding_assistant.settings import Settings


class Codes:
    """Opens folders' code as it is needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedder: Embedder | None = None
        self._opened: dict[Path, ProjectCode] = {}
        self._asked_about: dict[Path, CodeAskedAbout] = {}

    def of(self, root: Path) -> ProjectCode:
        """Return the code of a folder; there is one for each."""
        if not self._opened:  # not sooner: what needs no code works without an embedder's model
            self._embedder = make_embedder(self._settings)
        if root not in self._opened:
            self._opened[root] = project_code(self._settings, root, self._embedder)
        return self._opened[root]

    def ask_about(self, project: Project) -> CodeAskedAbout:
        """Return the code of a project that somebody is interested in now."""
        about = self._asked_about[project.root] = CodeAskedAbout(project, self.of(project.root))
        return about

    def asked_about(self) -> list[CodeAskedAbout]:
        """Return what somebody was interested in since the start."""
        return list(self._asked_about.values())

    async def close(self) -> None:
        """Let go of all indexes and of the embedder."""
        for code in self._opened.values():
            await code.close()
        if self._embedder:
            await to_thread.run_sync(self._embedder.close)
