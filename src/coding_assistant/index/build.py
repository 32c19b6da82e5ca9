"""Bring an index up to date with its project's folder: only what changed is read, only what differs is cut.

A walk's stamps (size and times of change) say which files to read, the digests of their text which to chunk.
It does not know how files are chosen, cut or stored.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from coding_assistant.domain import (
    FileIndexed,
    FilesCompared,
    FileSkipped,
    FileStamp,
    FoundFile,
    IndexEvent,
    IndexFinished,
    IndexStats,
    SkippedFile,
    SkipReason,
    SourceFile,
)
from coding_assistant.errors import IndexMissing
from coding_assistant.index.known_files import Part, PassedOver
from coding_assistant.index.store import SCHEMA_VERSION, Batch, IndexedFile, ProjectIndex
from coding_assistant.project.chunk import CHUNKER_VERSION
from coding_assistant.project.chunk_process import ChunkProcess
from coding_assistant.project.walk import affected, open_root, read, walk
from coding_assistant.terms import TERMS_VERSION

# Of 3.6 s for 1,838 files, transactions took 1.1 s with 10 files each, 0.65 s with 200, 0.5 s with 1,000; the
# longest kept other writers out for 0.14 s with 200. (docs/retrieval-log.md, "Building")
_BATCH_FILES = 200
_BATCH_BYTES = 4_000_000
# Whoever leaves an update waits for its batch, and sees no progress before its end.
BATCH_SECONDS = 1.0

# A file may change twice within one tick of its file system's clock (up to 2 s on FAT) without changing its
# size. Such a file's stamp proves nothing yet, so it is read again by the next update, as git does.
_SETTLING_NS = 2_000_000_000
_UNSETTLED_NS = -1
# Equal to no text's digest: the file will be cut again.
_NO_DIGEST = ""

# These are judged from a file's bytes, and stay true while its stamp does. That it was a link, or could not
# be read, may pass without a trace in its stamp: a folder above it was away, a disk did not answer.
_REASONS_IN_CONTENT = frozenset(
    {
        SkipReason.TOO_LARGE,
        SkipReason.BINARY,
        SkipReason.ENCODING,
        SkipReason.MINIFIED,
        SkipReason.GENERATED,
    }
)


def index_fingerprint() -> str:
    """Return what an index must have been made with to be of use: the tables, the terms, the chunks."""
    parts = f"tables {SCHEMA_VERSION}, terms {TERMS_VERSION}, chunks {CHUNKER_VERSION}"
    return hashlib.sha256(parts.encode()).hexdigest()


def update(
    index: ProjectIndex,
    root: Path,
    *,
    only: Collection[PurePosixPath] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
    batch_seconds: float = BATCH_SECONDS,
    niceness: int = 0,
) -> Generator[IndexEvent, None, None]:
    """Make the index equal the working tree, telling what happens.

    First come the files that the walk newly passed over, then ``FilesCompared``; then for each of its
    ``to_index`` files one ``FileIndexed`` or ``FileSkipped``, once it is committed; last ``IndexFinished``.
    Closing the generator at any point leaves a correct index that lacks what was not reached. Should the
    index turn out unfit on the way, the events begin again.

    With ``only`` it looks at no more than these paths, files and folders with what lies in them, and at what
    the rules in one of them are about. If nothing else has changed since an update of the whole, that comes
    to the same. ``now_ns`` is the clock that file times are compared with; after ``batch_seconds`` of work
    what is done is committed and told. ``niceness`` is that of the process that cuts files.
    """
    work = _Work(index, open_root(root), now_ns, batch_seconds, niceness)
    places = None if only is None else set(map(affected, only))
    if places is not None and PurePosixPath() in places:
        places = None
    try:
        yield from _update(work, places)
    except IndexMissing:  # it was unfit and has been begun anew
        yield from _update(work, None)


def count_outdated(index: ProjectIndex, root: Path) -> int:
    """Return how many files an update would read or remove, as far as their stamps tell; changes nothing."""
    comparison = _compare(index, walk(open_root(root)), None)
    return len(comparison.to_read) + len(comparison.removed_files)


@dataclass(frozen=True, slots=True)
class _Work:
    """What an update works on, and how."""

    index: ProjectIndex
    root: Path
    now_ns: Callable[[], int]
    batch_seconds: float
    niceness: int


@dataclass(frozen=True, slots=True)
class _Comparison:
    """How the working tree differs from the index."""

    total: int
    to_read: list[FoundFile]
    digests: dict[PurePosixPath, str]
    newly_passed_over: list[PassedOver]
    removed_files: list[PurePosixPath]
    gone: list[PurePosixPath]  # the removed files, and what was passed over and is no more


def _update(work: _Work, only: Collection[PurePosixPath] | None) -> Generator[IndexEvent, None, None]:
    started = time.monotonic()
    index = work.index
    generation = index.generation()
    comparison = _compare(index, walk(work.root, only=only), only)
    if comparison.gone:
        index.remove(comparison.gone, generation=generation)
    if comparison.newly_passed_over:
        index.write(Batch(passed_over=comparison.newly_passed_over), generation=generation)
    yield from (FileSkipped(file.path, file.reason) for file in comparison.newly_passed_over)
    yield FilesCompared(comparison.total, len(comparison.to_read), len(comparison.removed_files))
    changed = 0
    with ChunkProcess(niceness=work.niceness) as chunker:
        reader = _Reader(work, comparison, chunker)
        while batch := reader.next_batch():
            index.write(batch, generation=generation)
            changed += len(batch.files)
            yield from _events(batch, index.chunk_counts(batch.restamped))
    counts = index.counts()
    yield IndexFinished(
        IndexStats(
            files=counts.files,
            chunks=counts.chunks,
            skipped=counts.skipped,
            changed=changed,
            removed=len(comparison.removed_files),
            seconds=time.monotonic() - started,
            degraded=counts.degraded,
        )
    )


def _compare(
    index: ProjectIndex,
    entries: Iterable[FoundFile | SkippedFile],
    only: Collection[PurePosixPath] | None,
) -> _Comparison:
    part = None
    if only is not None:
        entries = list(entries)
        above = Part(only).folders_above
        # What lies below a folder that is no folder any more, or is ignored now, is gone, too.
        part = Part({*only, *(entry.path for entry in entries if entry.path in above)})
    known = index.stamps(part)
    passed_over = index.passed_over(part)
    stamps = {path: file.stamp for path, file in passed_over.items()}
    stamps.update((path, stamp) for path, (stamp, _) in known.items())
    to_read: list[FoundFile] = []
    newly_passed_over: list[PassedOver] = []
    seen: set[PurePosixPath] = set()
    found = 0
    for entry in entries:
        seen.add(entry.path)
        if isinstance(entry, FoundFile):
            found += 1
            if stamps.get(entry.path) != entry.stamp:
                to_read.append(entry)
        else:
            skipped = PassedOver(entry.path, entry.reason)
            if passed_over.get(entry.path) != skipped:
                newly_passed_over.append(skipped)
    removed = known.keys() - seen
    removed.update(known.keys() & {file.path for file in newly_passed_over})
    return _Comparison(
        total=found,
        to_read=to_read,
        digests={path: digest for path, (_, digest) in known.items()},
        newly_passed_over=newly_passed_over,
        removed_files=sorted(removed),
        gone=sorted((known.keys() | passed_over.keys()) - seen),
    )


class _Reader:
    """Reads and cuts the files of an update, a batch at a time."""

    def __init__(self, work: _Work, comparison: _Comparison, chunker: ChunkProcess) -> None:
        self._work = work
        self._digests = comparison.digests
        self._chunker = chunker
        self._pending = deque(comparison.to_read)

    def next_batch(self) -> Batch | None:
        """Read files for one transaction, and cut those whose text has changed; None after the last."""
        if not self._pending:
            return None
        stamps: dict[PurePosixPath, FileStamp] = {}
        passed_over: list[PassedOver] = []
        restamped: dict[PurePosixPath, FileStamp] = {}

        def changed() -> Iterator[SourceFile]:
            for found in self._group():
                stamp = _lasting_stamp(found.stamp, read_ns=self._work.now_ns())
                file = read(self._work.root, found)
                if not isinstance(file, SourceFile):
                    is_lasting = file.reason in _REASONS_IN_CONTENT
                    passed_over.append(PassedOver(file.path, file.reason, stamp if is_lasting else None))
                elif file.digest == self._digests.get(file.path):
                    restamped[file.path] = stamp
                else:
                    stamps[file.path] = stamp
                    yield file

        # The child cuts the next files while this one's terms are split here.
        files = [
            IndexedFile.of(file, stamps[file.path], chunks)
            for file, chunks in self._chunker.chunk_many(changed())
        ]
        return Batch(self._degraded(files), passed_over, restamped)

    def _group(self) -> Iterator[FoundFile]:
        """Yield the next files, at least one, as many as one transaction should hold."""
        ends_at = time.monotonic() + self._work.batch_seconds
        size = 0
        for _ in range(min(_BATCH_FILES, len(self._pending))):
            found = self._pending.popleft()
            size += found.stamp.size
            yield found
            if size >= _BATCH_BYTES or time.monotonic() >= ends_at:
                return

    def _degraded(self, files: list[IndexedFile]) -> list[IndexedFile]:
        """Mark the files that could not be cut by their syntax; the next update tries the untried again."""
        failures, untried = set(self._chunker.failures), set(self._chunker.untried)

        def marked(file: IndexedFile) -> IndexedFile:
            if file.path in untried:
                return replace(file, stamp=_unsettled(file.stamp), digest=_NO_DIGEST, is_degraded=True)
            return replace(file, is_degraded=file.path in failures)

        return [marked(file) for file in files] if failures or untried else files


def _lasting_stamp(stamp: FileStamp, *, read_ns: int) -> FileStamp:
    """Return the stamp, or one that equals no file's if the file could still change under this one."""
    is_settled = read_ns - max(stamp.modified_ns, stamp.changed_ns) > _SETTLING_NS
    return stamp if is_settled else _unsettled(stamp)


def _unsettled(stamp: FileStamp) -> FileStamp:
    return FileStamp(stamp.size, _UNSETTLED_NS, _UNSETTLED_NS)


def _events(batch: Batch, restamped: Mapping[PurePosixPath, int]) -> Iterator[IndexEvent]:
    for file in batch.files:
        yield FileIndexed(file.path, len(file.chunks))
    for path, chunks in restamped.items():
        yield FileIndexed(path, chunks)
    for skipped in batch.passed_over:
        yield FileSkipped(skipped.path, skipped.reason)
