"""Bring an index up to date with its project's folder: only what changed is read, only what differs is cut.

A walk's stamps (size and time of change) say which files to read, the digests of their text which to chunk.
It does not know how files are chosen, cut or stored.
"""

import hashlib
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    SourceFile,
)
from coding_assistant.errors import IndexMissing
from coding_assistant.index.store import SCHEMA_VERSION, Batch, IndexedFile, PassedOver, ProjectIndex
from coding_assistant.index.tokens import TOKENS_VERSION
from coding_assistant.project.chunk import CHUNKER_VERSION
from coding_assistant.project.chunk_process import ChunkProcess
from coding_assistant.project.walk import open_root, read, walk

# Of 3.6 s for 1,838 files, transactions took 1.1 s with 10 files each, 0.65 s with 200, 0.5 s with 1,000; the
# longest kept other writers out for 0.14 s with 200. (docs/retrieval-log.md, "Building")
_BATCH_FILES = 200
_BATCH_BYTES = 4_000_000

# A file may change twice within one tick of its file system's clock (up to 2 s on FAT) without changing its
# size. Such a file's stamp proves nothing yet, so it is read again by the next update, as git does.
_SETTLING_NS = 2_000_000_000
_UNSETTLED_NS = -1


def index_fingerprint() -> str:
    """Return what an index must have been made with to be of use: the tables, the terms, the chunks."""
    parts = f"tables {SCHEMA_VERSION}, terms {TOKENS_VERSION}, chunks {CHUNKER_VERSION}"
    return hashlib.sha256(parts.encode()).hexdigest()


def update(index: ProjectIndex, root: Path) -> Generator[IndexEvent, None, None]:
    """Make the index equal the working tree, telling what happens.

    First come the files that the walk newly passed over, then ``FilesCompared``; then for each of its
    ``to_index`` files one ``FileIndexed`` or ``FileSkipped``, once it is committed; last ``IndexFinished``.
    Closing the generator at any point leaves a correct index that lacks what was not reached. Should the
    index turn out unfit on the way, the events begin again.
    """
    root = open_root(root)
    try:
        yield from _update(index, root)
    except IndexMissing:  # it was unfit and has been begun anew
        yield from _update(index, root)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """How the working tree differs from the index."""

    total: int
    to_read: list[FoundFile]
    digests: dict[PurePosixPath, str]
    newly_passed_over: list[PassedOver]
    removed_files: list[PurePosixPath]
    gone: list[PurePosixPath]  # the removed files, and what was passed over and is no more


def _update(index: ProjectIndex, root: Path) -> Generator[IndexEvent, None, None]:
    started = time.monotonic()
    comparison = _compare(index, root)
    if comparison.gone:
        index.remove(comparison.gone)
    if comparison.newly_passed_over:
        index.write(Batch(passed_over=comparison.newly_passed_over))
    yield from (FileSkipped(file.path, file.reason) for file in comparison.newly_passed_over)
    yield FilesCompared(comparison.total, len(comparison.to_read), len(comparison.removed_files))
    changed = 0
    with ChunkProcess() as chunker:
        for group in _groups(comparison.to_read):
            batch = _batch(root, group, digests=comparison.digests, chunker=chunker)
            index.write(batch)
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
        )
    )


def _compare(index: ProjectIndex, root: Path) -> _Comparison:
    known = index.stamps()
    passed_over = index.passed_over()
    stamps = {path: file.stamp for path, file in passed_over.items()}
    stamps.update((path, stamp) for path, (stamp, _) in known.items())
    to_read: list[FoundFile] = []
    newly_passed_over: list[PassedOver] = []
    seen: set[PurePosixPath] = set()
    found = 0
    for entry in walk(root):
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


def _groups(files: Iterable[FoundFile]) -> Iterator[list[FoundFile]]:
    """Yield the files in groups that one transaction each will hold."""
    group: list[FoundFile] = []
    size = 0
    for file in files:
        group.append(file)
        size += file.stamp.size
        if len(group) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _batch(
    root: Path, group: Iterable[FoundFile], *, digests: Mapping[PurePosixPath, str], chunker: ChunkProcess
) -> Batch:
    """Read the files of a group, and cut those whose text is not the one of the digest."""
    stamps: dict[PurePosixPath, FileStamp] = {}
    passed_over: list[PassedOver] = []
    restamped: dict[PurePosixPath, FileStamp] = {}

    def changed() -> Iterator[SourceFile]:
        for found in group:
            stamp = _lasting_stamp(found.stamp, read_ns=time.time_ns())
            file = read(root, found)
            if not isinstance(file, SourceFile):
                passed_over.append(PassedOver(file.path, file.reason, stamp))
            elif file.digest == digests.get(file.path):
                restamped[file.path] = stamp
            else:
                stamps[file.path] = stamp
                yield file

    # The child cuts the next files while this one's terms are split here.
    files = [
        IndexedFile.of(file, stamps[file.path], chunks) for file, chunks in chunker.chunk_many(changed())
    ]
    return Batch(files, passed_over, restamped)


def _lasting_stamp(stamp: FileStamp, *, read_ns: int) -> FileStamp:
    """Return the stamp, or one that equals no file's if the file could still change under this one."""
    if read_ns - stamp.modified_ns > _SETTLING_NS:
        return stamp
    return FileStamp(stamp.size, _UNSETTLED_NS)


def _events(batch: Batch, restamped: Mapping[PurePosixPath, int]) -> Iterator[IndexEvent]:
    for file in batch.files:
        yield FileIndexed(file.path, len(file.chunks))
    for path, chunks in restamped.items():
        yield FileIndexed(path, chunks)
    for skipped in batch.passed_over:
        yield FileSkipped(skipped.path, skipped.reason)
