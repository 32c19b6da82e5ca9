"""Finds chunks by where they stand: a line of a file that a question names, all of a file, all that is code.

It knows the tables of files and chunks, and works on a connection that it is lent.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from coding_assistant.index.locations import NamedLocation

# A bare file name may be that of every package ("__init__.py"): then it says little of any.
MOST_FILES_OF_A_NAME = 5

_FILES_NAMED = "SELECT path FROM files WHERE path = ?1 OR path LIKE '%/' || ?2 ESCAPE '\\'"
_IDS_OF_FILE = (
    "SELECT chunks.id FROM chunks JOIN files ON files.id = file_id WHERE path = ? ORDER BY start_line"
)
_ID_AT = """
SELECT chunks.id FROM chunks JOIN files ON files.id = file_id
WHERE path = ? AND start_line <= ? AND end_line >= ?
"""
_SIZES = """
SELECT path, size FROM files WHERE language IS NOT NULL OR path COLLATE NOCASE IN ('README', 'README.txt')
"""


def ids_at(connection: sqlite3.Connection, locations: Iterable[NamedLocation]) -> dict[int, tuple[int, ...]]:
    """Return the chunks at these places, each with its lines that are named.

    Of a file whose line is named, only that line's chunk counts; of one without a line, all chunks do.
    """
    found: dict[int, tuple[int, ...]] = {}
    for location in locations:
        for path in _files_named(connection, location):
            if location.line is None:
                rows = connection.execute(_IDS_OF_FILE, (path,))
            else:
                rows = connection.execute(_ID_AT, (path, location.line, location.line))
            lines = () if location.line is None else (location.line,)
            for (chunk_id,) in rows:
                found[chunk_id] = found.get(chunk_id, ()) + lines
    return found


def ids_of_files(
    connection: sqlite3.Connection, paths: Iterable[PurePosixPath]
) -> Mapping[PurePosixPath, list[int]]:
    """Return the chunks of files, each file's in the order of its lines."""
    found: defaultdict[PurePosixPath, list[int]] = defaultdict(list)
    for path in paths:
        found[path] += [chunk_id for (chunk_id,) in connection.execute(_IDS_OF_FILE, (str(path),))]
    return found


def sizes(connection: sqlite3.Connection) -> dict[PurePosixPath, int]:
    """Return the bytes of every file whose language is known, and of a README that is plain text."""
    return {PurePosixPath(path): size for path, size in connection.execute(_SIZES)}


def _files_named(connection: sqlite3.Connection, location: NamedLocation) -> list[str]:
    """Return the files that share most of their path's last parts with the one that is named."""
    name = location.path.name
    escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    shared = {
        path: location.shared_parts(PurePosixPath(path))
        for (path,) in connection.execute(_FILES_NAMED, (name, escaped))
    }
    most = max(shared.values(), default=0)
    best = [path for path, parts in shared.items() if parts == most and most > 0]
    return best if len(best) <= MOST_FILES_OF_A_NAME else []
