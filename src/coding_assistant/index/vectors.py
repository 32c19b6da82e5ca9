"""The vectors of an index's chunks as rows of its file: one embedder's at a time, gone with their chunks.

Each row has a number that rises with every commit and is never given twice. So whoever holds copies in
memory asks for the rows above the last number it has seen, and knows a hit as outdated when its row is gone.
Everything here works on a connection that is lent to it. It knows neither the embedder nor FAISS.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from coding_assistant.domain import Chunk
from coding_assistant.index.scored import Scored
from coding_assistant.protocols import Vectors
from coding_assistant.terms import index_terms

# A vector is kept as whole numbers up to 127 and the factor that they share: 260 bytes for 256 dimensions. Of
# the 10 nearest it leaves 9.9 in place, half precision all but one in 2,500 for twice the size, 4 bits 8.3
# (docs/retrieval-log.md, "Vectors"). Codes are NULL where the embedder knew nothing of the text.
SCHEMA = """
CREATE TABLE embedder (  -- one row at most
    fingerprint TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    filled_to INTEGER NOT NULL,  -- every chunk up to this id has a row in vectors
    saved_digest TEXT,  -- of the file beside this one that holds the vectors as FAISS searches them
    saved_to INTEGER  -- the last number in that file
);
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    chunk_id INTEGER NOT NULL UNIQUE REFERENCES chunks (id) ON DELETE CASCADE,
    scale REAL NOT NULL,
    codes BLOB
);
"""

_LARGEST_CODE = 127
# 20 MB of them as 32-bit numbers of 256 dimensions; read and added to what is searched in 0.2 s.
BLOCK_ROWS = 20_000

_COUNT_MISSING = """
SELECT count(*) FROM chunks
WHERE id > (SELECT filled_to FROM embedder) AND NOT EXISTS (SELECT 1 FROM vectors WHERE chunk_id = chunks.id)
"""
_MISSING = """
SELECT chunks.id, path, symbol, text FROM chunks JOIN files ON files.id = file_id
WHERE chunks.id > (SELECT filled_to FROM embedder)
AND NOT EXISTS (SELECT 1 FROM vectors WHERE chunk_id = chunks.id)
ORDER BY chunks.id LIMIT ?
"""
# The terms' own column of the symbol holds the heads around the chunk as well. SQLite takes a cross join in
# its order; left to itself it reads all terms for each batch: of a million chunks, 0.7 s.
_MISSING_TERMS = """
SELECT chunks.id, terms.path, chunks.symbol, terms.body
FROM chunks CROSS JOIN terms ON terms.rowid = chunks.id
WHERE chunks.id > (SELECT filled_to FROM embedder)
AND NOT EXISTS (SELECT 1 FROM vectors WHERE chunk_id = chunks.id)
ORDER BY chunks.id LIMIT ?
"""
_ADD = """
INSERT OR IGNORE INTO vectors (chunk_id, scale, codes)
SELECT :id, :scale, :codes WHERE EXISTS (SELECT 1 FROM chunks WHERE id = :id)
"""
_RAISE_FILLED_TO = """
UPDATE embedder SET filled_to = coalesce(
    (SELECT min(id) - 1 FROM chunks WHERE id > filled_to AND id <= :last
        AND NOT EXISTS (SELECT 1 FROM vectors WHERE chunk_id = chunks.id)),
    max(filled_to, :last)
)
"""
_INSERT = "INSERT INTO vectors (chunk_id, scale, codes) VALUES (?, ?, ?)"
_KEPT = """
SELECT symbol, text, scale, codes FROM files
JOIN chunks ON chunks.file_id = files.id
JOIN vectors ON vectors.chunk_id = chunks.id
WHERE path = ?
"""
# Numbers in a row fall evenly over all the values of such a hash (Knuth's, by the golden ratio).
_SAMPLE = """
SELECT number, scale, codes FROM vectors
WHERE codes IS NOT NULL AND (number * 2654435761) % 4294967296 < ? * 4294967296
"""
_NEWER = (
    "SELECT number, scale, codes FROM vectors WHERE number > ? AND codes IS NOT NULL ORDER BY number LIMIT ?"
)
_OF_NUMBERS = """
SELECT chunk_id, scale, codes FROM vectors
WHERE number IN (SELECT value FROM json_each(?)) AND codes IS NOT NULL
"""
_OF_CHUNKS = """
SELECT chunk_id, scale, codes FROM vectors
WHERE chunk_id IN (SELECT value FROM json_each(?)) AND codes IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Whose vectors an index holds, and which of them stand in the file beside it."""

    fingerprint: str
    dimensions: int
    saved_digest: str | None
    saved_to: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """Some vectors, a row each, and their numbers."""

    numbers: NDArray[np.int64]
    vectors: Vectors


def embedding_text(path: PurePosixPath | str, symbol: str | None, text: str) -> str:
    """Return what an embedder reads of a chunk; where it is equal, so is the vector."""
    return f"{path}\n{symbol or ''}\n{text}"


def embedding_terms(path_terms: str, symbol: str | None, text_terms: str) -> str:
    """Return the terms of a chunk's embedding text, given those of its path and of its text."""
    return f"{path_terms} {index_terms(symbol or '')} {text_terms}"


def embedded(connection: sqlite3.Connection) -> Embedded | None:
    """Return whose vectors the index holds; None before the first embedder."""
    columns = "SELECT fingerprint, dimensions, saved_digest, saved_to FROM embedder"
    row = connection.execute(columns).fetchone()
    return Embedded(*row) if row else None


def replace_embedder(connection: sqlite3.Connection, fingerprint: str, dimensions: int) -> None:
    """Drop every vector; from now on the index holds those of this embedder."""
    connection.execute("DELETE FROM vectors")
    connection.execute("DELETE FROM embedder")
    connection.execute("INSERT INTO embedder VALUES (?, ?, 0, NULL, NULL)", (fingerprint, dimensions))


def remember_saved(connection: sqlite3.Connection, digest: str | None, last_number: int | None) -> None:
    """Note what the file beside the index holds from now on."""
    connection.execute("UPDATE embedder SET saved_digest = ?, saved_to = ?", (digest, last_number))


def count(connection: sqlite3.Connection) -> int:
    """Return how many chunks have a row here: 5 ms for a million."""
    ((rows,),) = connection.execute("SELECT count(*) FROM vectors")
    return int(rows)


def count_of(connection: sqlite3.Connection, fingerprint: str) -> int:
    """Return how many chunks have a row that is this embedder's."""
    held = embedded(connection)
    return count(connection) if held and held.fingerprint == fingerprint else 0


def count_missing(connection: sqlite3.Connection) -> int:
    """Return how many chunks have no row yet."""
    ((chunks,),) = connection.execute(_COUNT_MISSING)
    return int(chunks)


def missing(connection: sqlite3.Connection, *, limit: int) -> list[tuple[int, str]]:
    """Return chunks that have no row yet, the oldest first: each one's id and its text to embed."""
    rows = connection.execute(_MISSING, (limit,))
    return [(chunk_id, embedding_text(path, symbol, text)) for chunk_id, path, symbol, text in rows]


def missing_terms(connection: sqlite3.Connection, *, limit: int) -> list[tuple[int, str]]:
    """Return the same chunks, each with its text's terms: a third of the time of splitting them anew."""
    rows = connection.execute(_MISSING_TERMS, (limit,))
    return [(chunk_id, embedding_terms(path, symbol, body)) for chunk_id, path, symbol, body in rows]


def add(connection: sqlite3.Connection, ids: Sequence[int], vectors: Vectors) -> None:
    """Add the vectors of these chunks; what is gone or has a vector by now is passed over."""
    rows = (
        {"id": chunk_id, "scale": scale, "codes": codes}
        for chunk_id, (scale, codes) in zip(ids, _coded(vectors), strict=True)
    )
    connection.executemany(_ADD, rows)
    connection.execute(_RAISE_FILLED_TO, {"last": max(ids, default=0)})


class KeptVectors:
    """The vectors of files that are about to be replaced: a chunk that reads as before keeps its own.

    A slow embedder takes seconds for a file of which one line was changed; this takes next to nothing.
    """

    def __init__(self, connection: sqlite3.Connection, paths: Collection[PurePosixPath]) -> None:
        self._connection = connection
        self._of_text: dict[str, tuple[float, bytes | None]] = {}
        if embedded(connection) is None:
            return
        for path in paths:
            for symbol, text, scale, codes in connection.execute(_KEPT, (str(path),)):
                self._of_text[embedding_text(path, symbol, text)] = (scale, codes)

    def give(self, chunk: Chunk, chunk_id: int) -> None:
        """Give a chunk that is in the index by now the vector of the one that read like it, if any."""
        if not self._of_text:
            return
        if coded := self._of_text.get(embedding_text(chunk.path, chunk.symbol, chunk.text)):
            self._connection.execute(_INSERT, (chunk_id, *coded))


def newer(connection: sqlite3.Connection, last_number: int) -> Block | None:
    """Return the next ``BLOCK_ROWS`` vectors with a number above the given one, or as many as there are."""
    return _block(connection.execute(_NEWER, (last_number, BLOCK_ROWS)))


def sample(connection: sqlite3.Connection, share: float) -> Vectors | None:
    """Return about such a share of all vectors (0 to 1), taken evenly and always the same; None if empty."""
    block = _block(connection.execute(_SAMPLE, (share,)))
    return block.vectors if block else None


def scores(connection: sqlite3.Connection, vector: Vectors, numbers: NDArray[np.int64]) -> list[Scored]:
    """Return the chunks of these numbers that still exist, each with its inner product, best first."""
    scored = _scored(connection.execute(_OF_NUMBERS, (json.dumps(numbers.tolist()),)), vector)
    return sorted(scored, key=lambda each: (-each.score, each.id))


def similarities(connection: sqlite3.Connection, vector: Vectors, ids: Collection[int]) -> dict[int, float]:
    """Return the inner product with the vector of each of these chunks that has one."""
    scored = _scored(connection.execute(_OF_CHUNKS, (json.dumps(list(ids)),)), vector)
    return {each.id: each.score for each in scored}


def _scored(rows: sqlite3.Cursor, vector: Vectors) -> list[Scored]:
    found = rows.fetchall()
    if not found:
        return []
    ids, scales, codes = zip(*found, strict=True)
    # Not a matrix product: its last digits differ with the place of a row, and so would the order of equals.
    products = np.einsum("ij,j->i", _rows_of(codes).astype(np.float32), vector)
    return list(map(Scored, ids, (products * np.array(scales, np.float32)).tolist()))


def _block(rows: sqlite3.Cursor) -> Block | None:
    found = rows.fetchall()
    if not found:
        return None
    numbers, scales, codes = zip(*found, strict=True)
    vectors = _rows_of(codes) * np.array(scales, np.float32)[:, np.newaxis]
    return Block(np.array(numbers, np.int64), vectors)


def _rows_of(codes: Sequence[bytes]) -> NDArray[np.int8]:
    return np.frombuffer(b"".join(codes), np.int8).reshape(len(codes), -1)


def _coded(vectors: Vectors) -> Iterator[tuple[float, bytes | None]]:
    vectors = np.nan_to_num(
        vectors
    )  # a row that is not of numbers would never be kept, and always be missing
    scales = np.abs(vectors).max(axis=1, initial=0) / _LARGEST_CODE
    divisors = np.where(scales > 0, scales, 1)[:, np.newaxis]
    codes = np.rint(vectors / divisors).astype(np.int8)
    for scale, row in zip(scales.tolist(), codes, strict=True):
        yield scale, row.tobytes() if scale > 0 else None
