"""Indexed files with vectors for tests, and the search that needs no index: every vector, one by one."""

import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath

import numpy as np

from coding_assistant.domain import Chunk, ChunkKind, FileStamp, SourceFile
from coding_assistant.index.embed import embed_missing
from coding_assistant.index.store import Batch, IndexedFile, ProjectIndex
from coding_assistant.protocols import Embedder, Vectors


def indexed(name: str, *texts: str) -> IndexedFile:
    """Return a file whose chunks are these texts."""
    path = PurePosixPath(name)
    chunks = [
        Chunk(path, line, line, text, "python", f"symbol{line}", ChunkKind.FUNCTION)
        for line, text in enumerate(texts, start=1)
    ]
    return IndexedFile.of(SourceFile(path, "", f"digest of {texts}", "python"), FileStamp(1, 7, 8), chunks)


def write(index: ProjectIndex, *files: IndexedFile) -> None:
    """Put files into the index."""
    index.write(Batch(files=files))


def fill(index: ProjectIndex, embedder: Embedder) -> int:
    """Embed what has no vector, and return how many chunks that were."""
    return max((event.done for event in embed_missing(index, embedder)), default=0)


def texts_of(index: ProjectIndex, vector: Vectors, *, limit: int = 10) -> list[str]:
    """Return the texts of the chunks that are nearest to the vector, best first."""
    found = index.nearest(vector, limit=limit)
    chunks = index.chunks([each.id for each in found])
    return [chunks[each.id].text for each in found]


def all_scores(file: Path, vector: Vectors) -> dict[int, float]:
    """Return the inner product of the vector with that of every chunk, straight from the index's file."""
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(
            "SELECT chunk_id, scale, codes FROM vectors JOIN chunks ON chunks.id = chunk_id"
            " WHERE codes IS NOT NULL"
        ).fetchall()
    return {
        chunk_id: float(scale * np.frombuffer(codes, np.int8).astype(np.float32) @ vector)
        for chunk_id, scale, codes in rows
    }
