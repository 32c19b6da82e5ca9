"""What conversations about a project begin with, read while nobody asks and forked into each new one.

Restoring costs milliseconds whatever its length, so a front may tell of the project. A conversation keeps the
front that it began with, or all of it would have to be read again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from coding_assistant.chat.model import ChatModel, front_digest
from coding_assistant.chat.primer import MainFile, main_symbols, primer
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.prompt import common_front
from coding_assistant.domain import EngineInfo, Project

MUCH_CHANGED = 0.2
"""A primer is read again once so many of its lines are others: each time costs what a question costs."""

PRIMER_SHARE = 0.125
"""Of the prompt's budget: a conversation must not begin with its context half full."""


@dataclass(frozen=True, slots=True)
class CodeAskedAbout:
    """A project that questions were asked about since the start."""

    project: Project
    code: ProjectCode


class Fronts:
    """The fronts of one model. ``most_tokens`` bounds what is told of a project; 0: nothing is."""

    def __init__(
        self, model: ChatModel, asked_about: Callable[[], Iterable[CodeAskedAbout]], *, most_tokens: int
    ) -> None:
        self._model = model
        self._asked_about = asked_about
        self._most_tokens = most_tokens
        self._primers: dict[str, str] = {}  # by project: as they were read last
        self._tried: set[tuple[str, str]] = set()  # runs of the engine, and digests

    async def primer_for_new(self, asked: CodeAskedAbout, info: EngineInfo, *, question: str) -> str:
        """Return what a new conversation is told of the project before its first question.

        Nothing, unless that was read before; nor before a question that may need the room.
        """
        text = self._primers.get(asked.project.id)
        if text is None:
            text = self._primers[asked.project.id] = await self._written(asked.code, info)
        digest = front_digest(self._model.system(asked.project, text))
        is_short = len(question.encode()) <= self._room(info)
        return text if text and is_short and self._model.caches.has_front(digest, info) else ""

    async def read_next(self) -> bool:
        """Read one front that is missing or out of date; False if there is none, or no model is loaded."""
        engine = self._model.engine
        if not engine.is_loaded:
            return False
        info = await engine.load()
        if not info.snapshots:
            return False
        for asked in list(self._asked_about()):
            for text in dict.fromkeys(("", await self._current(asked, info))):
                system = self._model.system(asked.project, text)
                digest = front_digest(system)
                attempt = (info.run, digest)
                if attempt not in self._tried and not self._model.caches.has_front(digest, info):
                    is_read = await self._read(system, digest, info)
                    # Once a run: where there is no room to keep it, it would be read again and again.
                    self._tried.add(attempt)
                    return is_read
        return False

    async def _current(self, asked: CodeAskedAbout, info: EngineInfo) -> str:
        """Return the primer to use from now on: the one that was read, while it is still about right."""
        known = self._primers.get(asked.project.id, "")
        written = await self._written(asked.code, info)
        if not known or _changed_share(known, written) > MUCH_CHANGED:
            known = self._primers[asked.project.id] = written
        return known

    async def _written(self, code: ProjectCode, info: EngineInfo) -> str:
        most_tokens = min(self._most_tokens, self._room(info))
        if not most_tokens:
            return ""
        parts = await code.main_parts()
        files = [MainFile(path, main_symbols(chunks)) for path, chunks in parts.files.items()]
        return primer(parts.readme, files, most_tokens=most_tokens)

    def _room(self, info: EngineInfo) -> int:
        """Return how many tokens a primer may take."""
        return round(self._model.budget(info.context_tokens).prompt * PRIMER_SHARE)

    async def _read(self, system: str, digest: str, info: EngineInfo) -> bool:
        """Read a front and keep it; return whether that could be done."""
        model = self._model
        tokens = await common_front(model.engine, system)
        async with model.caches.lease(digest) as lease:
            await lease.prepare(info)
            await model.read(tokens, slot=lease.slot)
            await model.caches.keep_front(lease, digest)
        return model.caches.has_front(digest, info)


def _changed_share(before: str, after: str) -> float:
    """Return which share of the lines of both stands in one of them only."""
    lines, others = set(before.splitlines()), set(after.splitlines())
    return len(lines ^ others) / max(1, len(lines | others))
