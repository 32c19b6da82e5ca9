"""The search index of one project: files, chunks and their terms in one SQLite file.

Everything here is derived from the working tree: it is thrown away and built anew, never migrated and never
repaired (``derived_file``). It knows nothing of walking, chunking or ranking.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Self

from coding_assistant.domain import Chunk, ChunkKind, ContextLine, FileStamp, SourceFile
from coding_assistant.index import known_files, lookup, matching, presence
from coding_assistant.index.derived_file import DerivedFile
from coding_assistant.index.known_files import Counts, FileProblem, Part, PassedOver
from coding_assistant.index.locations import NamedLocation
from coding_assistant.index.matching import ColumnWeights
from coding_assistant.index.scored import ChunkHead, Scored
from coding_assistant.index.vector_index import LIMITS, Limits, VectorIndex
from coding_assistant.index.vectors import SCHEMA as VECTORS_SCHEMA
from coding_assistant.index.vectors import KeptVectors
from coding_assistant.protocols import Vectors
from coding_assistant.terms import QueryTerms, index_terms

# Part of the index's fingerprint: raise it whenever the tables below change.
SCHEMA_VERSION = "5"

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
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice, so that an outdated one finds nothing
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

# The columns before the text: a long row's other pages are not read.
_HEADS = """
SELECT chunks.id, files.path, start_line, end_line, symbol
FROM json_each(?) AS wanted JOIN chunks ON chunks.id = wanted.value JOIN files ON files.id = chunks.file_id
"""
_CHUNKS = """
SELECT chunks.id, files.path, start_line, end_line, text, language, symbol, kind, context
FROM json_each(?) AS wanted JOIN chunks ON chunks.id = wanted.value JOIN files ON files.id = chunks.file_id
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
class Batch:
    """Changes that reach the index together or not at all.

    ``restamped`` are files that were touched without a change of their text.
    """

    files: Sequence[IndexedFile] = ()
    passed_over: Sequence[PassedOver] = ()
    restamped: Mapping[PurePosixPath, FileStamp] = field(default_factory=dict)


class ProjectIndex:
    """One project's index; safe to use from several threads, beside other processes.

    Any call may raise ``IndexMissing``: the file was unfit and has been begun anew, empty; an update fills
    it. ``Busy``, ``DiskFull`` and ``DataDirectoryUnusable`` leave it as it was.
    """

    def __init__(self, database: DerivedFile, vectors: VectorIndex) -> None:
        self._database = database
        self._term_counts = matching.TermCounts()
        self._vectors = vectors

    @classmethod
    def open(cls, file: Path, *, fingerprint: str, limits: Limits = LIMITS) -> Self:
        """Open the index, or begin an empty one when there is none, or none that can be used."""
        database = DerivedFile(file, schema=_SCHEMA + VECTORS_SCHEMA, fingerprint=fingerprint)
        database.prepare()
        return cls(database, VectorIndex(database, file.with_name(f"{file.name}.vectors"), limits=limits))

    def close(self) -> None:
        """Close the file."""
        self._vectors.close()
        self._database.close()

    def stamps(self, part: Part | None = None) -> dict[PurePosixPath, tuple[FileStamp, str]]:
        """Return the stamp and the digest of every indexed file, or of those of a part of the project."""
        with self._database.reading() as connection:
            return known_files.stamps(connection, part)

    def passed_over(self, part: Part | None = None) -> dict[PurePosixPath, PassedOver]:
        """Return every file and folder that the last update passed over, or those of a part."""
        with self._database.reading() as connection:
            return known_files.passed_over(connection, part)

    def counts(self) -> Counts:
        """Return how much the index holds."""
        with self._database.reading() as connection:
            return known_files.counts(connection)

    def problems(self) -> list[FileProblem]:
        """Return every file that was passed over, or cut without regard to its syntax, and why, in order."""
        with self._database.reading() as connection:
            return known_files.problems(connection)

    def newest_chunk(self) -> int:
        """Return the id of the newest chunk: another one as soon as a file is indexed again."""
        with self._database.reading() as connection:
            ((newest,),) = connection.execute("SELECT coalesce(max(id), 0) FROM chunks")
            return int(newest)

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
            kept = KeptVectors(connection, _paths(batch.files))
            _delete(connection, "files", _paths(batch.files) + _paths(batch.passed_over))
            _delete(connection, "skipped", _paths(batch.files))
            for file in batch.files:
                _insert_file(connection, file, kept)
            known_files.write_passed_over(connection, batch.passed_over)
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

    def match(
        self, terms: QueryTerms, *, weights: ColumnWeights, limit: int, also: AbstractSet[int] = frozenset()
    ) -> list[Scored]:
        """Return chunks that share terms with the query, by BM25, best first, with those of ``also`` that do.

        In a large index not all of them are looked at: ``matching`` tells which.
        """
        with self._database.reading() as connection:
            return matching.match(
                connection, terms.terms, weights=weights, limit=limit, counts=self._term_counts, also=also
            )

    def heads(self, ids: Collection[int]) -> list[ChunkHead]:
        """Return what chunks are called and where they stand; those that are no more are left out."""
        with self._database.reading() as connection:
            return list(map(ChunkHead._make, connection.execute(_HEADS, (json.dumps(list(ids)),))))

    def chunks(self, ids: Collection[int]) -> dict[int, Chunk]:
        """Return chunks by their ids; those that are no more are left out."""
        with self._database.reading() as connection:
            return _chunks(connection, ids)

    def ids_at(self, locations: Iterable[NamedLocation]) -> dict[int, tuple[int, ...]]:
        """Return the chunks at these places, each with its lines that are named; none for a whole file's."""
        with self._database.reading() as connection:
            return lookup.ids_at(connection, locations)

    def chunks_of_files(self, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, list[Chunk]]:
        """Return the chunks of files, each file's in the order of its lines."""
        with self._database.reading() as connection:
            ids = lookup.ids_of_files(connection, paths)
            chunks = _chunks(connection, [chunk_id for each in ids.values() for chunk_id in each])
        return {path: [chunks[chunk_id] for chunk_id in each] for path, each in ids.items()}

    def absent_words(self, words: Iterable[str]) -> frozenset[str]:
        """Return the words that stand nowhere in the project, in whatever form, alone or in a name."""
        with self._database.reading() as connection:
            return presence.absent_words(connection, words)

    def absent_names(self, names: Iterable[str]) -> frozenset[str]:
        """Return the names that stand nowhere in the project as they are written."""
        with self._database.reading() as connection:
            return presence.absent_names(connection, names)

    def sizes(self) -> dict[PurePosixPath, int]:
        """Return the bytes of every file whose language is known, and of a README that is plain text."""
        with self._database.reading() as connection:
            return lookup.sizes(connection)

    def use_embedder(self, fingerprint: str, dimensions: int) -> None:
        """Hold the vectors of this embedder from now on; those of another one are dropped."""
        self._vectors.use_embedder(fingerprint, dimensions)

    def count_with_vectors(self, fingerprint: str) -> int:
        """Return how many chunks have a vector of this embedder, which need not be in use."""
        return self._vectors.count_of(fingerprint)

    def count_without_vectors(self) -> int:
        """Return how many chunks lack a vector of the embedder in use."""
        return self._vectors.count_missing()

    def texts_without_vectors(self, *, limit: int) -> list[tuple[int, str]]:
        """Return the ids of chunks that lack a vector of the embedder in use, each with its text to embed.

        The oldest come first.
        """
        return self._vectors.missing(limit=limit)

    def terms_without_vectors(self, *, limit: int) -> list[tuple[int, str]]:
        """Return the same chunks, each with the terms of its text to embed, as indexing has split them."""
        return self._vectors.missing_terms(limit=limit)

    def add_vectors(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Add the vectors of chunks, a row each, in one transaction; chunks that are gone are passed over.

        ``Conflict`` means that another process has chosen another embedder.
        """
        self._vectors.add(ids, vectors)

    def prepare_vectors(self) -> None:
        """Load what a search by vectors needs and save what takes long to make; else the search loads it."""
        self._vectors.prepare()

    def nearest(self, vector: Vectors, *, limit: int) -> list[Scored]:
        """Return the chunks whose vectors have the largest inner product with this one, best first.

        Of many vectors a few may be missed (``vector_index``). Without vectors of the embedder in use there
        are none.
        """
        return self._vectors.nearest(vector, limit=limit)

    def similarities(self, vector: Vectors, ids: Collection[int]) -> dict[int, float]:
        """Return the inner product with this vector of each of these chunks that has a vector."""
        return self._vectors.similarities(vector, ids)


def _chunks(connection: sqlite3.Connection, ids: Collection[int]) -> dict[int, Chunk]:
    # One object for each path: ranking groups by them, and each would be parsed and hashed by itself.
    path_of = cache(PurePosixPath)
    rows = connection.execute(_CHUNKS, (json.dumps(list(ids)),))
    return {
        chunk_id: Chunk(path_of(path), start, end, text, language, symbol, ChunkKind(kind), _context(context))
        for chunk_id, path, start, end, text, language, symbol, kind, context in rows
    }


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
    return json.dumps([(line.line, line.text) for line in context], ensure_ascii=False) if context else None


def _paths(files: Sequence[IndexedFile] | Sequence[PassedOver]) -> list[PurePosixPath]:
    return [file.path for file in files]


def _delete(connection: sqlite3.Connection, table: str, paths: Iterable[PurePosixPath]) -> None:
    statement = {"files": "DELETE FROM files WHERE path = ?", "skipped": "DELETE FROM skipped WHERE path = ?"}
    connection.executemany(statement[table], ((str(path),) for path in paths))


def _insert_file(connection: sqlite3.Connection, file: IndexedFile, kept: KeptVectors) -> None:
    file_id = connection.execute(
        "INSERT INTO files (path, size, modified_ns, changed_ns, digest, language, is_degraded)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (str(file.path), *astuple(file.stamp), file.digest, file.language, file.is_degraded),
    ).lastrowid
    for chunk, terms in zip(file.chunks, file.terms, strict=True):
        cursor = connection.execute(
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
        )
        chunk_id = _inserted_id(cursor)
        connection.execute(
            "INSERT INTO terms (rowid, path, symbol, body) VALUES (?, ?, ?, ?)",
            (chunk_id, terms.path, terms.symbol, terms.body),
        )
        kept.give(chunk, chunk_id)


def _inserted_id(cursor: sqlite3.Cursor) -> int:
    if cursor.lastrowid is None:
        raise AssertionError("a row that was inserted has an id")
    return cursor.lastrowid
