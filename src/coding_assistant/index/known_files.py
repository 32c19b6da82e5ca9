"""What an index knows of the project's files: which it holds, as they were when read, and which it does not.

It knows two tables, ``files`` and ``skipped``, and nothing of chunks; whoever calls lends a connection.
"""

import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from pathlib import PurePosixPath

from coding_assistant.domain import FileStamp, SkipReason

# One scan a table for a whole project; for a part of it two look-ups in the index on paths for each place.
# "0" follows "/" in the order of characters, so a folder's paths are a range.
_FILES = "SELECT path, size, modified_ns, changed_ns, digest FROM files"
_FILES_OF_PART = """
SELECT path, size, modified_ns, changed_ns, digest
FROM files WHERE path IN (SELECT value FROM json_each(:alone))
UNION ALL
SELECT files.path, size, modified_ns, changed_ns, digest FROM json_each(:places) AS place
JOIN files ON files.path > place.value || '/' AND files.path < place.value || '0'
"""
_SKIPPED = "SELECT path, reason, size, modified_ns, changed_ns FROM skipped"
_SKIPPED_OF_PART = """
SELECT path, reason, size, modified_ns, changed_ns
FROM skipped WHERE path IN (SELECT value FROM json_each(:alone))
UNION ALL
SELECT skipped.path, reason, size, modified_ns, changed_ns FROM json_each(:places) AS place
JOIN skipped ON skipped.path > place.value || '/' AND skipped.path < place.value || '0'
"""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file that is not in the index, and why; it has a stamp if its content is the reason."""

    path: PurePosixPath
    reason: SkipReason
    stamp: FileStamp | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much an index holds."""

    files: int
    chunks: int
    skipped: Mapping[SkipReason, int]
    degraded: int = 0


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that the index does not hold, and why; without a reason, it holds it cut by lines alone."""

    path: PurePosixPath
    reason: SkipReason | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a project: files and folders with all that lies in them, and the folders above them alone."""

    places: Collection[PurePosixPath]

    @property
    def folders_above(self) -> set[PurePosixPath]:
        """The folders that a way to one of the places leads through, without the root."""
        return {folder for place in self.places for folder in place.parents if folder.parts}

    @property
    def _parameters(self) -> dict[str, str]:
        return {
            "places": json.dumps([str(place) for place in self.places]),
            "alone": json.dumps([str(path) for path in {*self.places, *self.folders_above}]),
        }

    def rows(self, connection: sqlite3.Connection, query: str) -> sqlite3.Cursor:
        """Return what a query of the part finds."""
        return connection.execute(query, self._parameters)


def stamps(connection: sqlite3.Connection, part: Part | None) -> dict[PurePosixPath, tuple[FileStamp, str]]:
    """Return the stamp and the digest of every indexed file."""
    rows = connection.execute(_FILES) if part is None else part.rows(connection, _FILES_OF_PART)
    return {
        PurePosixPath(path): (FileStamp(size, modified_ns, changed_ns), digest)
        for path, size, modified_ns, changed_ns, digest in rows
    }


def passed_over(connection: sqlite3.Connection, part: Part | None) -> dict[PurePosixPath, PassedOver]:
    """Return every file and folder that is known not to be in the index."""
    rows = connection.execute(_SKIPPED) if part is None else part.rows(connection, _SKIPPED_OF_PART)
    return {file.path: file for file in map(_passed_over, rows)}


def counts(connection: sqlite3.Connection) -> Counts:
    """Return how much the index holds."""
    counting = "SELECT count(*), count(*) FILTER (WHERE is_degraded) FROM files"
    ((files, degraded),) = connection.execute(counting)
    ((chunks,),) = connection.execute("SELECT count(*) FROM chunks")
    reasons = connection.execute("SELECT reason, count(*) FROM skipped GROUP BY reason")
    return Counts(files, chunks, {SkipReason(reason): count for reason, count in reasons}, degraded)


def problems(connection: sqlite3.Connection) -> list[FileProblem]:
    """Return every file that was passed over, or cut without regard to its syntax, and why, in order."""
    rows = connection.execute(
        "SELECT path, NULL FROM files WHERE is_degraded"
        " UNION ALL SELECT path, reason FROM skipped ORDER BY path"
    )
    return [FileProblem(PurePosixPath(path), SkipReason(reason) if reason else None) for path, reason in rows]


def write_passed_over(connection: sqlite3.Connection, files: Collection[PassedOver]) -> None:
    """Note that files are not in the index."""
    connection.executemany("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)", map(_skipped_row, files))


def _passed_over(row: tuple[str, str, *tuple[int, ...]]) -> PassedOver:
    path, reason, *stamp = row
    return PassedOver(PurePosixPath(path), SkipReason(reason), None if None in stamp else FileStamp(*stamp))


def _skipped_row(file: PassedOver) -> tuple[str | int | None, ...]:
    stamp = astuple(file.stamp) if file.stamp else (None, None, None)
    return str(file.path), file.reason, *stamp
