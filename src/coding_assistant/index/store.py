"""The search index of one project: files, chunks and their terms in one SQLite file.

Everything here is derived from the working tree: it is thrown away and built anew, never migrated and never
repaired (``derived_file``). It knows nothing of walking, chunking or ranking.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Self

from coding_assistant.domain import Chunk, ChunkKind, ContextLine, FileStamp, SkipReason, SourceFile
from coding_assistant.index.derived_file import DerivedFile
from coding_assistant.terms import QueryTerms, index_terms

# Part of the index's fingerprint: raise it whenever the tables below change.
SCHEMA_VERSION = "4"

_SCHEMA = """
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    digest TEXT NOT NULL,
    language TEXT,
    is_degraded INTEGER NOT NULL
);
CREATE TABLE skipped (
    path TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    size INTEGER,
    modified_ns INTEGER,
    changed_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    start_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL,
    symbol TEXT,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    context TEXT  -- JSON: [[line, text], …]; NULL for a chunk that has none
);
CREATE INDEX chunks_by_file ON chunks (file_id);
-- Rows hold identifiers that are split already; the tokenizer cuts at the spaces and stems English words.
CREATE VIRTUAL TABLE terms USING fts5 (path, symbol, body, tokenize = "porter unicode61 remove_diacritics 0");
-- A chunk and its terms go together, whoever deletes the chunk.
CREATE TRIGGER terms_follow_chunks AFTER DELETE ON chunks BEGIN
    DELETE FROM terms WHERE rowid = old.id;
END;
"""

_MATCHES = """
SELECT path, start_line, end_line, text, language, chunks.symbol, kind, context, -best.score
FROM (
    SELECT rowid AS id, bm25(terms, ?, ?, ?) AS score FROM terms WHERE terms MATCH ? ORDER BY score LIMIT ?
) AS best
JOIN chunks USING (id)
JOIN files ON files.id = chunks.file_id
ORDER BY best.score, chunks.id
"""


@dataclass(frozen=True, slots=True)
class ChunkTerms:
    """The terms of a chunk, one string a column."""

    path: str
    symbol: str
    body: str


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file as it goes into the index, with the terms of each of its chunks.

    It is degraded if it should have been cut by its syntax and could not be.
    """

    path: PurePosixPath
    stamp: FileStamp
    digest: str
    language: str | None
    chunks: tuple[Chunk, ...]
    terms: tuple[ChunkTerms, ...]
    is_degraded: bool = False

    @classmethod
    def of(cls, file: SourceFile, stamp: FileStamp, chunks: Sequence[Chunk]) -> Self:
        """Split the terms of a file's chunks: the costly part of indexing, so it is done before the write."""
        path = index_terms(file.path.as_posix())
        terms = tuple(
            ChunkTerms(path, index_terms(_names_around(chunk)), index_terms(chunk.text)) for chunk in chunks
        )
        return cls(file.path, stamp, file.digest, file.language, tuple(chunks), terms)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file that is not in the index, and why; it has a stamp if its content is the reason."""

    path: PurePosixPath
    reason: SkipReason
    stamp: FileStamp | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that reach the index together or not at all.

    ``restamped`` are files that were touched without a change of their text.
    """

    files: Sequence[IndexedFile] = ()
    passed_over: Sequence[PassedOver] = ()
    restamped: Mapping[PurePosixPath, FileStamp] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnWeights:
    """How much a term counts, by where it stands."""

    path: float
    symbol: float
    body: float


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A chunk that shares terms with a query, and its BM25 score: higher is better."""

    chunk: Chunk
    score: float


@dataclass(frozen=True, slots=True)
class Counts:
    """How much an index holds."""

    files: int
    chunks: int
    skipped: Mapping[SkipReason, int]
    degraded: int = 0


class ProjectIndex:
    """One project's index; safe to use from several threads, beside other processes.

    Any call may raise ``IndexMissing``: the file was unfit and has been begun anew, empty; an update fills
    it. ``Busy``, ``DiskFull`` and ``DataDirectoryUnusable`` leave it as it was.
    """

    def __init__(self, database: DerivedFile) -> None:
        self._database = database

    @classmethod
    def open(cls, file: Path, *, fingerprint: str) -> Self:
        """Open the index, or begin an empty one when there is none, or none that can be used."""
        database = DerivedFile(file, schema=_SCHEMA, fingerprint=fingerprint)
        database.prepare()
        return cls(database)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def stamps(self) -> dict[PurePosixPath, tuple[FileStamp, str]]:
        """Return the stamp and the digest of every indexed file."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT path, size, modified_ns, changed_ns, digest FROM files")
            return {
                PurePosixPath(path): (FileStamp(size, modified_ns, changed_ns), digest)
                for path, size, modified_ns, changed_ns, digest in rows
            }

    def passed_over(self) -> dict[PurePosixPath, PassedOver]:
        """Return every file and folder that the last update passed over."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT path, reason, size, modified_ns, changed_ns FROM skipped")
            return {
                PurePosixPath(path): PassedOver(
                    PurePosixPath(path),
                    SkipReason(reason),
                    None if size is None else FileStamp(size, modified_ns, changed_ns),
                )
                for path, reason, size, modified_ns, changed_ns in rows
            }

    def counts(self) -> Counts:
        """Return how much the index holds."""
        with self._database.reading() as connection:
            counting = "SELECT count(*), count(*) FILTER (WHERE is_degraded) FROM files"
            ((files, degraded),) = connection.execute(counting)
            ((chunks,),) = connection.execute("SELECT count(*) FROM chunks")
            reasons = connection.execute("SELECT reason, count(*) FROM skipped GROUP BY reason")
            skipped = {SkipReason(reason): count for reason, count in reasons}
        return Counts(files, chunks, skipped, degraded)

    def chunk_counts(self, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, int]:
        """Return how many chunks each of these indexed files has."""
        counting = "SELECT count(*) FROM chunks JOIN files ON files.id = file_id WHERE path = ?"
        with self._database.reading() as connection:
            return {path: connection.execute(counting, (str(path),)).fetchone()[0] for path in paths}

    def generation(self) -> str:
        """Return the name of what was begun last: another whenever the index was begun anew, by whomever."""
        return self._database.generation()

    def write(self, batch: Batch, *, generation: str | None = None) -> None:
        """Put a batch into the index in one transaction, each file in the place of what it was before.

        Whoever compared with an index of some generation writes to that one only, or gets ``IndexMissing``.
        """
        with self._database.writing(generation=generation) as connection:
            _delete(connection, "files", _paths(batch.files) + _paths(batch.passed_over))
            _delete(connection, "skipped", _paths(batch.files))
            for file in batch.files:
                _insert_file(connection, file)
            connection.executemany(
                "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)", map(_skipped_row, batch.passed_over)
            )
            connection.executemany(
                "UPDATE files SET size = ?, modified_ns = ?, changed_ns = ? WHERE path = ?",
                ((*astuple(stamp), str(path)) for path, stamp in batch.restamped.items()),
            )

    def remove(self, paths: Iterable[PurePosixPath], *, generation: str | None = None) -> None:
        """Forget files, indexed or passed over, in one transaction; ``generation`` as for ``write``."""
        gone = list(paths)
        with self._database.writing(generation=generation) as connection:
            _delete(connection, "files", gone)
            _delete(connection, "skipped", gone)

    def match(self, terms: QueryTerms, *, weights: ColumnWeights, limit: int) -> list[TextMatch]:
        """Return the chunks that share terms with the query, by BM25, best first."""
        if not terms.expression:
            return []
        with self._database.reading() as connection:
            rows = connection.execute(
                _MATCHES, (weights.path, weights.symbol, weights.body, terms.expression, limit)
            ).fetchall()
        return [
            TextMatch(
                Chunk(
                    PurePosixPath(path),
                    start,
                    end,
                    text,
                    language,
                    symbol,
                    ChunkKind(kind),
                    _context(context),
                ),
                score,
            )
            for path, start, end, text, language, symbol, kind, context, score in rows
        ]


def _names_around(chunk: Chunk) -> str:
    """Return what a chunk is called and what it lies in.

    The heads above it gave gold lines 1 to 3 points and took a tenth of a point from files; what a class
    holds below took up to three tenths, and is left out.
    """
    heads = (line.text for line in chunk.context if line.line < chunk.start_line)
    return " ".join((chunk.symbol or "", *heads))


def _context(column: str | None) -> tuple[ContextLine, ...]:
    return tuple(ContextLine(line, text) for line, text in json.loads(column)) if column else ()


def _context_column(context: Sequence[ContextLine]) -> str | None:
    return json.dumps([astuple(line) for line in context], ensure_ascii=False) if context else None


def _paths(files: Sequence[IndexedFile] | Sequence[PassedOver]) -> list[PurePosixPath]:
    return [file.path for file in files]


def _skipped_row(file: PassedOver) -> tuple[str | int | None, ...]:
    stamp = astuple(file.stamp) if file.stamp else (None, None, None)
    return str(file.path), file.reason, *stamp


def _delete(connection: sqlite3.Connection, table: str, paths: Iterable[PurePosixPath]) -> None:
    statement = {"files": "DELETE FROM files WHERE path = ?", "skipped": "DELETE FROM skipped WHERE path = ?"}
    connection.executemany(statement[table], ((str(path),) for path in paths))


def _insert_file(connection: sqlite3.Connection, file: IndexedFile) -> None:
    file_id = connection.execute(
        "INSERT INTO files (path, size, modified_ns, changed_ns, digest, language, is_degraded)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (str(file.path), *astuple(file.stamp), file.digest, file.language, file.is_degraded),
    ).lastrowid
    for chunk, terms in zip(file.chunks, file.terms, strict=True):
        chunk_id = connection.execute(
            "INSERT INTO chunks (file_id, start_line, end_line, symbol, kind, text, context)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                file_id,
                chunk.start_line,
                chunk.end_line,
                chunk.symbol,
                chunk.kind,
                chunk.text,
                _context_column(chunk.context),
            ),
        ).lastrowid
        connection.execute(
            "INSERT INTO terms (rowid, path, symbol, body) VALUES (?, ?, ?, ?)",
            (chunk_id, terms.path, terms.symbol, terms.body),
        )
