"""Search by vectors: copies of an index's vectors in memory, made equal to its file whenever they are asked.

Up to ``Limits.exact_most`` vectors are compared one by one. More of them are held in a smaller, rougher form,
of which several times as many hits are taken as are wanted, and all hits are scored with the vectors
themselves. That form takes 10 s to make for a million, so it is kept in a file beside the index; the index
knows that file's digest, and whatever else lies there is not it.
"""

import hashlib
import sqlite3
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from coding_assistant.errors import Busy, Conflict, StorageFailed
from coding_assistant.index import vectors as stored
from coding_assistant.index.derived_file import DerivedFile, generation_of
from coding_assistant.index.faiss_index import SMALLEST_SAMPLE, FaissIndex
from coding_assistant.index.scored import Scored
from coding_assistant.protocols import Vectors

# Of 1,000 that the rough form finds, 98 % of the 200 nearest are among them with 90,000 vectors and 97 % with
# a million; of 400 it was 91 and 87 % ("Vectors"). Scoring them again costs 4 µs each.
_ROUGH_HITS_FOR_ONE = 4
_FEWEST_ROUGH_HITS = 400
# Some hits are of chunks that are gone.
_SPARE_SHARE = 0.25

# What the rough form learns from, in 0.4 s; with 20,000 it finds no more.
_SAMPLE_VECTORS = 5_000

# When one in five of those in memory is of a chunk that is gone, it is time to load anew.
_LARGEST_SHARE_OF_LIVE = 1.25


@dataclass(frozen=True, slots=True)
class Limits:
    """From how many vectors on something else is done.

    50,000 compared one by one take 3 ms and 26 MB; loading them takes 0.2 s. 20,000 that a saved file lacks
    take as long to add at the next opening.
    """

    exact_most: int = 50_000
    unsaved_most: int = 20_000


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose vectors these are, and in which file: none of another owner can be among them."""

    fingerprint: str
    generation: str


@dataclass(slots=True)
class _Loaded:
    """Vectors in memory: all up to the last number, those of chunks that are gone by now among them."""

    owner: _Owner
    index: FaissIndex
    last_number: int = 0
    looked_at: int = 0  # how many there were when they were last compared with how many still exist
    outdated_digest: str | None = None  # of a saved file that must not be used

    def add_block(self, connection: sqlite3.Connection) -> bool:
        """Add the next vectors; return whether there may be more."""
        block = stored.newer(connection, self.last_number)
        if block is None:
            return False
        self.index.add(block.numbers, block.vectors)
        self.last_number = int(block.numbers[-1])
        return len(block.numbers) == stored.BLOCK_ROWS

    def is_outgrown(self, connection: sqlite3.Connection, *, exact_most: int) -> bool:
        """Return whether too many are gone, or there are too many for their form; looks now and then."""
        size = len(self.index)
        if size <= self.looked_at * _LARGEST_SHARE_OF_LIVE:
            return False
        self.looked_at = size
        live = stored.count(connection)
        return size > live * _LARGEST_SHARE_OF_LIVE or (self.index.is_exact and live > exact_most)

    def nearest(self, connection: sqlite3.Connection, vector: Vectors, limit: int) -> list[Scored]:
        wanted = limit
        if not self.index.is_exact:
            wanted = max(limit * _ROUGH_HITS_FOR_ONE, _FEWEST_ROUGH_HITS)
        asked = wanted + int(wanted * _SPARE_SHARE)
        while True:
            scored = stored.scores(connection, vector, self.index.nearest(vector, count=asked))
            if len(scored) >= wanted or asked >= len(self.index):
                return scored[:limit]
            asked *= 4
            self.looked_at = 0  # much of what is near is gone: look soon whether much of all is


class VectorIndex:
    """One index's vectors: stored, searched, dropped with another embedder. Safe to use from several threads.

    It raises what ``DerivedFile`` does. Before ``use_embedder``, and while another process has filled the
    index with another embedder's vectors, nothing is found.
    """

    def __init__(self, database: DerivedFile, saved_file: Path, *, limits: Limits) -> None:
        self._database = database
        self._saved_file = saved_file
        self._limits = limits
        self._owner: _Owner | None = None
        self._lock = threading.Lock()  # taken before a connection is, so that nobody waits while reading
        self._loaded: _Loaded | None = None

    def close(self) -> None:
        """Let go of what is in memory."""
        with self._lock:
            self._loaded = None

    def use_embedder(self, fingerprint: str, dimensions: int) -> None:
        """Hold the vectors of this embedder from now on; those of another one are dropped."""
        with self._database.reading() as connection:
            self._owner = _Owner(fingerprint, generation_of(connection))
            is_known = self._embedded(connection) is not None
        if not is_known:
            with self._database.writing(generation=self._owner.generation) as connection:
                if self._embedded(connection) is None:  # nobody else has done it meanwhile
                    stored.replace_embedder(connection, fingerprint, dimensions)

    def count_of(self, fingerprint: str) -> int:
        """Return how many chunks have a vector of this embedder, be it in use or not."""
        with self._database.reading() as connection:
            return stored.count_of(connection, fingerprint)

    def count_missing(self) -> int:
        """Return how many chunks have no vector yet."""
        with self._database.reading() as connection:
            return stored.count_missing(connection) if self._embedded(connection) else 0

    def missing(self, *, limit: int) -> list[tuple[int, str]]:
        """Return chunks that have no vector yet, the oldest first: each one's id and its text to embed."""
        with self._database.reading() as connection:
            return stored.missing(connection, limit=limit) if self._embedded(connection) else []

    def missing_terms(self, *, limit: int) -> list[tuple[int, str]]:
        """Return the same chunks, each with the terms of its text instead."""
        with self._database.reading() as connection:
            return stored.missing_terms(connection, limit=limit) if self._embedded(connection) else []

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Add the vectors of chunks in one transaction; chunks that are gone are passed over.

        ``Conflict``: another process has chosen another embedder. ``IndexMissing``: the index was begun anew.
        """
        if (owner := self._owner) is None:
            raise ValueError("use_embedder comes first")
        with self._database.writing(generation=owner.generation) as connection:
            embedded = self._embedded(connection)
            if embedded is None:
                raise Conflict(
                    "Another process fills this project's index with vectors of another embedder.",
                    hint="Use the same embedder everywhere, or end the other process; then try again.",
                )
            if vectors.shape != (len(ids), embedded.dimensions):
                raise ValueError(f"{len(ids)} chunks cannot have vectors of the shape {vectors.shape}")
            stored.add(connection, ids, vectors)

    def nearest(self, vector: Vectors, *, limit: int) -> list[Scored]:
        """Return the chunks whose vectors have the largest inner product with this one, best first.

        With many vectors a few may be missed, as the module says; scores are those of the stored vectors.
        """
        if limit < 1 or not vector.any():
            return []
        with self._lock, self._caught_up() as connection:
            return self._loaded.nearest(connection, vector, limit) if self._loaded else []

    def similarities(self, vector: Vectors, ids: Collection[int]) -> dict[int, float]:
        """Return the inner product with this vector of each of these chunks that has a vector."""
        with self._database.reading() as connection:
            return stored.similarities(connection, vector, ids) if self._embedded(connection) else {}

    def prepare(self) -> None:
        """Load what a search will need, and save what takes long to make.

        Otherwise the next search does the loading: 0.2 s for 50,000 vectors, 10 s for a million whose file is
        not there.
        """
        with self._lock:
            if self._loaded:
                self._loaded.looked_at = 0  # chunks may have gone without a new one
            with self._caught_up() as connection:
                embedded = self._embedded(connection)
            if embedded is None or self._loaded is None:
                return
            with suppress(
                Busy, StorageFailed, OSError
            ):  # what is not saved is made again by the next process
                if self._loaded.index.is_exact:
                    self._forget_saved(self._loaded)
                elif self._is_due(self._loaded, embedded):
                    self._save(self._loaded)

    def _embedded(self, connection: sqlite3.Connection) -> stored.Embedded | None:
        """Return what the index says of its vectors if they are of the embedder in use."""
        embedded = stored.embedded(connection)
        is_ours = embedded and self._owner and embedded.fingerprint == self._owner.fingerprint
        return embedded if is_ours else None

    @contextmanager
    def _caught_up(self) -> Iterator[sqlite3.Connection]:
        """Make the memory equal the file as the lent connection sees it.

        A step is a transaction of its own, for whoever writes waits for the end of each.
        """
        may_be_more = True
        while may_be_more:
            with self._database.reading() as connection:
                may_be_more = self._advance(connection)
                if not may_be_more:
                    yield connection

    def _advance(self, connection: sqlite3.Connection) -> bool:
        """Bring the memory a block nearer to the file, and return whether there may be more to add."""
        embedded = self._embedded(connection)
        if embedded is None:
            self._loaded = None
            return False
        owner = _Owner(embedded.fingerprint, generation_of(connection))
        if self._loaded is None or self._loaded.owner != owner:
            self._loaded = self._begin(connection, owner, embedded, may_use_saved=True)
        if self._loaded.add_block(connection):
            return True
        if self._loaded.is_outgrown(connection, exact_most=self._limits.exact_most):
            self._loaded = self._begin(connection, owner, embedded, may_use_saved=False)
            return True
        return False

    def _begin(
        self, connection: sqlite3.Connection, owner: _Owner, embedded: stored.Embedded, *, may_use_saved: bool
    ) -> _Loaded:
        """Return what the saved file holds or, in the form that suits how many there are, nothing yet."""
        outdated = embedded.saved_digest
        live = stored.count(connection)
        if live > self._limits.exact_most:
            if may_use_saved and (saved := self._read_saved(embedded)):
                return _Loaded(owner, saved, last_number=embedded.saved_to or 0)
            sample = stored.sample(connection, min(1.0, _SAMPLE_VECTORS / live))
            if sample is not None and len(sample) >= SMALLEST_SAMPLE:
                approximate = FaissIndex.approximate(sample)
                return _Loaded(owner, approximate, looked_at=live, outdated_digest=outdated)
        exact = FaissIndex.exact(embedded.dimensions)
        return _Loaded(owner, exact, looked_at=live, outdated_digest=outdated)

    def _read_saved(self, embedded: stored.Embedded) -> FaissIndex | None:
        if embedded.saved_digest is None:
            return None
        try:
            data = self._saved_file.read_bytes()
        except OSError:  # whatever the reason: it is made anew, and saving it will tell
            return None
        is_it = hashlib.sha256(data).hexdigest() == embedded.saved_digest
        return FaissIndex.from_bytes(data) if is_it else None

    def _is_due(self, loaded: _Loaded, embedded: stored.Embedded) -> bool:
        """Return whether the saved file, perhaps another process's, is unfit or lacks too much."""
        if embedded.saved_digest is None or embedded.saved_digest == loaded.outdated_digest:
            return True
        return loaded.last_number - (embedded.saved_to or 0) > self._limits.unsaved_most

    def _save(self, loaded: _Loaded) -> None:
        """Put what is in memory into the file beside the index, both or neither seen by others.

        A process that stops between the two leaves a file of another digest than the index knows.
        """
        data = loaded.index.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with self._database.writing(generation=loaded.owner.generation) as connection:
            if self._embedded(connection) is None:
                return
            self._replace_saved_file(data)
            stored.remember_saved(connection, digest, loaded.last_number)
        loaded.outdated_digest = None

    def _replace_saved_file(self, data: bytes) -> None:
        with tempfile.NamedTemporaryFile(  # readable by its owner alone, as vectors tell of the code
            dir=self._saved_file.parent, prefix=f"{self._saved_file.name}.", suffix=".new", delete=False
        ) as temporary:
            fresh = Path(temporary.name)
            try:
                temporary.write(data)
                temporary.close()
                fresh.replace(self._saved_file)
            finally:
                fresh.unlink(missing_ok=True)

    def _forget_saved(self, loaded: _Loaded) -> None:
        """Remove the saved file of a time when there were more vectors, or other ones."""
        if not self._saved_file.exists():
            return
        with self._database.writing(generation=loaded.owner.generation) as connection:
            if self._embedded(connection):
                stored.remember_saved(connection, None, None)
                self._saved_file.unlink(missing_ok=True)
