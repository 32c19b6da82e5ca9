"""Indexes of small projects for tests: real files, real SQLite, the real chunker."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

from coding_assistant.domain import Chunk, FileStamp, IndexEvent, IndexFinished, IndexStats, SourceFile
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.search import Searcher
from coding_assistant.index.store import IndexedFile, ProjectIndex


def an_hour_later_ns() -> int:
    """Return a time at which every file that was just written has settled."""
    return time.time_ns() + 3_600_000_000_000


def bring_up_to_date(index: ProjectIndex, root: Path) -> IndexStats:
    """Update the index to the end and return what that did."""
    return _stats(update(index, root))


def bring_settled(index: ProjectIndex, root: Path) -> IndexStats:
    """Do the same as if all files had been left alone for an hour, so that their stamps are trusted."""
    return _stats(update(index, root, now_ns=an_hour_later_ns))


def _stats(events: Iterable[IndexEvent]) -> IndexStats:
    (finished,) = (event for event in events if isinstance(event, IndexFinished))
    return finished.stats


def paths_found(index: ProjectIndex, query: str) -> set[str]:
    """Return the files that a search for the query finds."""
    return {hit.chunk.path.as_posix() for hit in Searcher(index).search(query, limit=100)}


@contextmanager
def indexed_project(folder: Path, files: Mapping[str, str]) -> Iterator[ProjectIndex]:
    """Write a project's files below a folder, index them, and lend the index."""
    root = folder / "project"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    with closing(ProjectIndex.open(folder / "index.sqlite", fingerprint=index_fingerprint())) as index:
        bring_up_to_date(index, root)
        yield index


def cut(name: str, *texts: str, symbols: Iterable[str] = (), language: str | None = "python") -> IndexedFile:
    """Return a file of these chunks, one below the other; the first so many define the symbols."""
    path, given = PurePosixPath(name), iter(symbols)
    chunks = []
    line = 1
    for text in texts:
        end = line + text.count("\n")
        chunks.append(Chunk(path, line, end, text, language, next(given, None)))
        line = end + 1
    file = SourceFile(path, "\n".join(texts), f"digest of {texts}", language)
    return IndexedFile.of(file, FileStamp(len(file.text), 7, 8), chunks)
