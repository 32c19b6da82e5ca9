"""Give vectors to the chunks of an index that have none: after an update those of the files that changed.

The text index works meanwhile, and search by vectors finds what has one so far.
"""

import time
from collections.abc import Generator

from coding_assistant.domain import ChunksEmbedded
from coding_assistant.index.store import ProjectIndex
from coding_assistant.protocols import Embedder

# Embedders differ by three orders of magnitude, so the first batch is small, and what it takes says how large
# the next may be. A commit costs some milliseconds; whoever leaves waits for the end of a batch.
_FIRST_BATCH_CHUNKS = 32
_MOST_BATCH_CHUNKS = 2_048
BATCH_SECONDS = 0.5


def embed_missing(
    index: ProjectIndex, embedder: Embedder, *, batch_seconds: float = BATCH_SECONDS
) -> Generator[ChunksEmbedded, None, None]:
    """Embed the chunks that have no vector of this embedder, telling how many are done, at first none.

    Closing the generator at any point, or a kill, leaves what was told; the next call goes on from there.
    When all are done, what a search needs is loaded and saved. Vectors of another embedder are dropped.
    """
    index.use_embedder(embedder.fingerprint, embedder.dimensions)
    total = index.count_without_vectors()
    done = 0
    if total:
        yield ChunksEmbedded(done, total)  # a model that has to be loaded makes the first batch a long one
    size = _FIRST_BATCH_CHUNKS if embedder.is_instant else 1
    read = index.terms_without_vectors if embedder.embed_terms else index.texts_without_vectors
    embed = embedder.embed_terms or embedder.embed_documents
    while batch := read(limit=size):
        started = time.monotonic()
        ids, texts = zip(*batch, strict=True)
        index.add_vectors(ids, embed(texts))
        done += len(batch)
        yield ChunksEmbedded(done, max(done, total))
        size = _next_size(size, seconds=time.monotonic() - started, batch_seconds=batch_seconds)
    index.prepare_vectors()


def _next_size(size: int, *, seconds: float, batch_seconds: float) -> int:
    """Return twice as many chunks after a batch that took less than half its time, half after a long one."""
    if seconds > batch_seconds:
        return max(1, size // 2)
    return min(size * 2, _MOST_BATCH_CHUNKS) if seconds < batch_seconds / 2 else size
