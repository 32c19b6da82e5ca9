"""What the product keeps and where it can be reached: data directory, conversations, index, vectors, port."""

import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from coding_assistant.assistant import make_embedder, open_project_code
from coding_assistant.cli.doctor.findings import Check, Fact, Finding, Verdict
from coding_assistant.cli.rendering import count, holder_in_words
from coding_assistant.data_directory import DataDirectory
from coding_assistant.database import check_database
from coding_assistant.domain import SkipReason
from coding_assistant.errors import EngineFailed, NotReady
from coding_assistant.index.known_files import Counts
from coding_assistant.inference.memory import size_in_words
from coding_assistant.settings import CONFIG_FILE, DOTENV_FILE, MODELS_FILE, NO_EMBEDDER, Settings

_BUILT_IN = 'The one that is built in needs nothing: embedder = "static".'
_LOOK_SECONDS = 1.0

_PROBLEMS = (SkipReason.UNREADABLE, SkipReason.ENCODING, SkipReason.TOO_LARGE)
"""Why files are left out that somebody may miss; what else is left out was meant to be."""


def settings_files(settings: Settings) -> Finding:
    """Tell which files were read; that they could not be is told before there are settings."""
    there = [name for name in (CONFIG_FILE, DOTENV_FILE, MODELS_FILE) if (settings.home / name).exists()]
    read = f"read without complaint: {', '.join(there)}" if there else "the defaults, no file sets any"
    return Finding(Check.SETTINGS, Verdict.OK, read, facts={"files": there})


def data_directory(settings: Settings) -> Finding:
    """Tell who uses the data directory. Makes it where it is missing; raises what stands in the way."""
    directory = DataDirectory(settings.home)
    directory.prepare()
    holder = directory.holder()
    facts: dict[str, Fact] = {
        "home": str(settings.home),
        "holder": None if holder is None else holder.purpose,
        "url": None if holder is None else holder.url,
    }
    if holder is None:
        return Finding(Check.DATA_DIRECTORY, Verdict.OK, f"{settings.home}, free", facts=facts)
    who = f"{settings.home}, in use by {holder_in_words(holder)}"
    if holder.url is not None:
        answers = f"{who}, which answers at {holder.url}"
        return Finding(Check.DATA_DIRECTORY, Verdict.OK, answers, facts=facts)
    return Finding(Check.DATA_DIRECTORY, Verdict.WARN, who, "Other commands wait for it.", facts)


def conversations(settings: Settings) -> Finding:
    """Read all of the conversations' database. Raises ``DatabaseDamaged`` with how to save what can be."""
    file = DataDirectory(settings.home).conversations_file
    if not file.exists():
        return Finding(Check.CONVERSATIONS, Verdict.OK, "none yet", facts={"file_bytes": 0})
    check_database(file)
    size = file.stat().st_size
    detail = f"{size_in_words(size)}, all of it readable (quick_check)"
    return Finding(Check.CONVERSATIONS, Verdict.OK, detail, facts={"file_bytes": size})


def port(settings: Settings) -> Finding:
    """Tell whether ``serve`` can have its port."""
    number = settings.port
    facts: dict[str, Fact] = {"port": number}
    with socket.socket() as probe:
        probe.settimeout(_LOOK_SECONDS)
        is_taken = probe.connect_ex(("127.0.0.1", number)) == 0
    if not is_taken:
        return Finding(Check.PORT, Verdict.OK, f"{number} is free for `serve`", facts=facts)
    holder = DataDirectory(settings.home).holder()
    if holder is not None and holder.url is not None and holder.url.endswith(f":{number}"):
        return Finding(Check.PORT, Verdict.OK, f"{number} is used by our own server", facts=facts)
    return Finding(
        Check.PORT,
        Verdict.WARN,
        f"{number} is used by another program",
        f"Serve elsewhere: `coding-assistant serve --port {number + 1}`",
        facts,
    )


def embedder(settings: Settings) -> Finding:
    """Make a vector: what finds code by its meaning may be a model that is not here."""
    facts: dict[str, Fact] = {"embedder": settings.embedder}
    try:
        made = make_embedder(settings)
        if made is None:
            detail = "none: code is found by words alone"
            return Finding(Check.EMBEDDER, Verdict.OK, detail, facts=facts)
        with closing(made):
            dimensions = made.embed_query("word").size  # loads its model
    except (EngineFailed, NotReady) as error:
        advice = " ".join(filter(None, (error.hint, _BUILT_IN)))
        return Finding(Check.EMBEDDER, Verdict.FAIL, error.message, advice, {**facts, "code": error.code})
    detail = f"{settings.embedder} loads, {dimensions} dimensions"
    return Finding(Check.EMBEDDER, Verdict.OK, detail, facts={**facts, "dimensions": dimensions})


@dataclass(frozen=True, slots=True)
class _IndexState:
    """What an index holds, how much of that is not as the folder is now, and how much has no vector."""

    counts: Counts
    outdated: int
    without_vector: int
    size_bytes: int

    @property
    def problems(self) -> int:
        """The files that were to be read and could not, or not well."""
        return self.counts.degraded + sum(self.counts.skipped.get(reason, 0) for reason in _PROBLEMS)


async def index(settings: Settings, folder: Path) -> Finding:
    """Compare a folder's index with the folder, and count what it lacks; changes nothing.

    Raises ``InvalidProject`` and whatever keeps the index from being opened.
    """
    async with open_project_code(settings, folder) as code:
        counts = await code.counts()
        if counts is None:
            detail = f"none yet of {folder}; the first question or search makes it"
            return Finding(Check.INDEX, Verdict.OK, detail, facts={"project": str(folder), "files": None})
        embedded = counts.chunks if settings.embedder == NO_EMBEDDER else await code.count_with_vectors()
        outdated, size_bytes = await code.count_outdated(), code.index_bytes
    state = _IndexState(counts, outdated, counts.chunks - embedded, size_bytes)
    return _told(folder, state)


def _told(folder: Path, state: _IndexState) -> Finding:
    counts = state.counts
    facts: dict[str, Fact] = {
        "project": str(folder),
        "files": counts.files,
        "chunks": counts.chunks,
        "outdated": state.outdated,
        "without_vector": state.without_vector,
        "problems": state.problems,
        "size_bytes": state.size_bytes,
    }
    size = size_in_words(state.size_bytes)
    parts = [f"{count(counts.files, 'file')}, {count(counts.chunks, 'chunk')}, {size} of {folder}"]
    if state.outdated:
        parts.append(f"{count(state.outdated, 'file')} to look into again, which the next question does")
    else:
        parts.append("as the folder is now")
    if state.problems:
        parts.append(f"{count(state.problems, 'file')} could not be read, or not by their syntax")
    if state.without_vector:
        parts.append(f"{count(state.without_vector, 'chunk')} without a vector")
    detail = "; ".join(parts)
    if state.without_vector and not state.outdated:
        advice = "`coding-assistant index` makes the vectors now; until then words alone find these."
        return Finding(Check.INDEX, Verdict.TIP, detail, advice, facts)
    if state.problems:
        advice = "`coding-assistant index --status` names them and says why."
        return Finding(Check.INDEX, Verdict.TIP, detail, advice, facts)
    return Finding(Check.INDEX, Verdict.OK, detail, facts=facts)
