"""What a user cannot have again, in one file: the conversations and the settings, checked by their digests.

Weights, indexes and snapshots are not in it: they can be fetched or made anew. A backup can be taken while a
server runs; it is read whole and checked before anything of it is used.
"""

import errno
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final, NoReturn

from pydantic import TypeAdapter, ValidationError

from coding_assistant.chat.export import as_json
from coding_assistant.chat.store import ConversationStore
from coding_assistant.database import copy_database, refuse_programs
from coding_assistant.errors import (
    DatabaseDamaged,
    DatabaseTooNew,
    DiskFull,
    InvalidImport,
    InvalidRequest,
    StorageFailed,
)

FORMAT: Final = "coding-assistant backup 1"
"""Named in the manifest, so that a reader knows what it has before it trusts the rest."""

MANIFEST: Final = "manifest.json"
CONVERSATIONS: Final = "conversations.db"
SETTINGS: Final = ("config.toml", ".env", "models.toml")
"""What may be in a backup, and nothing else: names in an archive are somebody's words."""

MOST_MANIFEST_BYTES: Final = 64 * 1024
MOST_SETTINGS_BYTES: Final = 1024 * 1024

_NOT_OURS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,  # no manifest, or a file that it names
    ValidationError,
    RuntimeError,  # encrypted
    NotImplementedError,  # packed in a way that is not known
)

_BLOCK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a backup, as it was when it was taken."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BackedUpConversation:
    """A conversation of a backup; ``document`` is its JSON export."""

    id: str
    title: str
    document: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    format: str
    made_at: datetime
    files: Mapping[str, KeptFile]


_MANIFEST_FORMAT: Final = TypeAdapter(Manifest)


def write_backup(file: Path, *, home: Path, database: Path) -> Manifest:
    """Write a backup of a data directory to a new file, readable by its owner alone, and say what is in it.

    The file has its name only when it is whole. Raises ``InvalidRequest`` for one that is there already or
    cannot be written, and for a data directory with nothing to keep.
    """
    if file.exists():
        raise InvalidRequest(f"{file} is there already.", hint="Name a file that is not.")
    beside = file.absolute().parent
    with _refused_by_system(file), TemporaryDirectory(prefix=".backup-", dir=beside) as scratch:
        found = _collect(Path(scratch), home=home, database=database)
        if not found:
            raise InvalidRequest(
                f"There is nothing in {home} to back up yet.",
                hint="Set CODING_ASSISTANT_HOME if your data lies elsewhere.",
            )
        draft = Path(scratch) / "backup.zip"
        manifest = _pack(draft, found)
        draft.replace(file)
        return manifest


@contextmanager
def opened_backup(file: Path, *, scratch: Path) -> Iterator["Backup"]:
    """Read a backup whole into a folder of its own in ``scratch`` and check it; it is gone after the block.

    Raises ``InvalidImport``.
    """
    with ExitStack() as stack:
        with _refused_by_system(scratch):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix=".restore-", dir=scratch)))
            backup = Backup(folder, _unpack(file, into=folder))
        backup.check()
        yield backup


class Backup:
    """A backup that lies unpacked and checked in a folder."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.folder = folder

    @property
    def has_conversations(self) -> bool:
        """Whether there is more in it than settings."""
        return CONVERSATIONS in self.manifest.files

    def check(self) -> None:
        """Open the conversations, brought up to date with this version's tables; raise ``InvalidImport``."""
        if not self.has_conversations:
            return
        try:
            refuse_programs(self.folder / CONVERSATIONS)
            ConversationStore.open(self.folder / CONVERSATIONS).close()
        except DatabaseTooNew as error:
            raise InvalidImport(
                "The backup was made by a newer version of coding-assistant.", hint="Update coding-assistant."
            ) from error
        except DatabaseDamaged as error:
            raise InvalidImport(
                "The backup's conversations cannot be read.", hint="Restore another backup."
            ) from error

    def conversations(self) -> Iterator[BackedUpConversation]:
        """Yield the conversations, the last used last; not those in the trash."""
        if not self.has_conversations:
            return
        with closing(ConversationStore.open(self.folder / CONVERSATIONS)) as store:
            for each in reversed(store.conversations()):
                yield BackedUpConversation(each.id, each.title, as_json(store.document(each.id)).encode())

    def count_conversations(self) -> int:
        """Return how many conversations are not in the backup's trash."""
        if not self.has_conversations:
            return 0
        with closing(ConversationStore.open(self.folder / CONVERSATIONS)) as store:
            return len(store.conversations())

    def count_deleted(self) -> int:
        """Return how many conversations lie in the backup's trash."""
        if not self.has_conversations:
            return 0
        with closing(ConversationStore.open(self.folder / CONVERSATIONS)) as store:
            return len(store.trash.conversations())

    def add_missing_settings(self, home: Path) -> tuple[list[str], list[str]]:
        """Put the settings files there that are missing; return the names of those added and those kept."""
        added, kept = [], []
        for name in SETTINGS:
            if name not in self.manifest.files:
                continue
            if (home / name).exists():
                kept.append(name)
            else:
                (self.folder / name).replace(home / name)
                added.append(name)
        return added, kept

    def replace_database(self, database: Path) -> Path | None:
        """Put the backup's conversations in place of those that are there; return where these lie now.

        The data directory must be held. Whatever ends this in the middle, both are in the folder.
        """
        kept = None
        if database.exists():
            moment = datetime.now(UTC)
            kept = database.with_name(f"conversations-before-restore-{moment:%Y%m%d-%H%M%S-%f}.sqlite3")
            # The log last: a log without its database is noticed, a database without its log is only older.
            for suffix in ("", "-wal", "-shm"):
                beside = database.with_name(f"{database.name}{suffix}")
                if beside.exists():
                    beside.replace(kept.with_name(f"{kept.name}{suffix}"))
        if self.has_conversations:
            (self.folder / CONVERSATIONS).replace(database)
        return kept


def _collect(scratch: Path, *, home: Path, database: Path) -> dict[str, Path]:
    """Return what there is to keep, by its name in the backup; the conversations as a copy."""
    found = {}
    if database.exists():
        copy_database(database, scratch / CONVERSATIONS)
        found[CONVERSATIONS] = scratch / CONVERSATIONS
    return found | {name: home / name for name in SETTINGS if (home / name).is_file()}


def _pack(draft: Path, found: Mapping[str, Path]) -> Manifest:
    draft.touch(mode=0o600)
    files = {}
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in found.items():
            with path.open("rb") as source, archive.open(name, "w", force_zip64=True) as target:
                files[name] = _copy(source, target)
        manifest = Manifest(FORMAT, datetime.now(UTC), files)
        archive.writestr(MANIFEST, _MANIFEST_FORMAT.dump_json(manifest, indent=2))
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    return manifest


def _unpack(file: Path, *, into: Path) -> Manifest:
    """Write the files that the manifest names, and that alone, to a folder; each must be as it says."""
    if not file.is_file():
        raise InvalidRequest(
            f"There is no file {file}.", hint="Name what `coding-assistant backup` has written."
        )
    try:
        with zipfile.ZipFile(file) as archive:
            with archive.open(MANIFEST) as packed:
                manifest = _MANIFEST_FORMAT.validate_json(packed.read(MOST_MANIFEST_BYTES))
            _require_sound(manifest)
            for name, kept in manifest.files.items():
                target = into / name
                target.touch(mode=0o600)
                with archive.open(name) as packed, target.open("wb") as written:
                    if _copy(packed, written, most_bytes=kept.size) != kept:
                        _refuse(f"{name} is not as it was written")
            return manifest
    except _NOT_OURS as error:
        raise _no_backup("it is no archive that `coding-assistant backup` has written") from error


def _require_sound(manifest: Manifest) -> None:
    if manifest.format != FORMAT:
        _refuse(f"its format is {manifest.format[:80]!r}, not {FORMAT!r}")
    if not set(manifest.files) <= {CONVERSATIONS, *SETTINGS}:
        _refuse("it holds files that no backup has")
    if any(manifest.files[name].size > MOST_SETTINGS_BYTES for name in SETTINGS if name in manifest.files):
        _refuse("its settings are too long")


def _copy(source: IO[bytes], target: IO[bytes], *, most_bytes: int | None = None) -> KeptFile:
    """Copy and say what was copied; stop behind the bytes that were promised, however many there are."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK_BYTES):
        size += len(block)
        if most_bytes is not None and size > most_bytes:
            break
        digest.update(block)
        target.write(block)
    return KeptFile(size, digest.hexdigest())


@contextmanager
def _refused_by_system(place: Path) -> Iterator[None]:
    """Say what the system has against it."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"No space is left for {place}.", hint="Free some; nothing was changed."
            ) from error
        raise StorageFailed(f"{place}: {error.strerror or error}.", hint="Nothing was changed.") from error


def _refuse(why: str) -> NoReturn:
    raise _no_backup(why)


def _no_backup(why: str) -> InvalidImport:
    return InvalidImport(
        f"This is not a backup that can be restored: {why}.", hint="Nothing was changed. Try another one."
    )
