"""``build.json``, beside a server that was compiled here: of what, by what, for which processor.

Also what the two and their folder are called.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

FOLDER: Final = "native"
SERVER: Final = "llama-server"
RECORD: Final = "build.json"


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """How a server came to be.

    ``source`` is the package and its version, ``commit`` llama.cpp's in it, ``version`` what the server says
    of itself. ``cpu_features`` are those of the processor that it was compiled on, any of which it may use;
    without one of them it can die at any moment. ``built_at`` is in UTC, ISO 8601.
    """

    source: str
    commit: str
    version: str
    compiler: str
    flags: tuple[str, ...]
    gpu: str
    cpu: str
    cpu_features: tuple[str, ...]
    built_at: str
    server_bytes: int


_FORMAT: Final = TypeAdapter(BuildRecord)


def write_record(record: BuildRecord, folder: Path) -> None:
    """Write the record of the server in ``folder``."""
    (folder / RECORD).write_bytes(_FORMAT.dump_json(record, indent=1) + b"\n")


def read_record(folder: Path) -> BuildRecord | None:
    """Return the record of the server in ``folder``; None where there is none that can be read."""
    try:
        return _FORMAT.validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
