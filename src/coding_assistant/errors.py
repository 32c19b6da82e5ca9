"""Every failure the product raises on purpose, as one tree.

    CodingAssistantError
    ├── NotFound            ProjectNotFound · SessionNotFound · ConversationNotFound ·
    │                       GenerationNotFound · ModelUnknown
    ├── InvalidRequest      InvalidText · QuestionTooLong · KeyReused · InvalidProject · InvalidSetting ·
    │                       InvalidModel · InvalidImport · InvalidAttachment · AttachmentTooLarge
    ├── Conflict            ConversationElsewhere · ConversationBusy · AlreadyImported
    ├── NotReady            ModelMissing · IndexMissing · EngineUnavailable · SystemLacks
    ├── Busy                EngineBusy · DataDirectoryLocked
    ├── EngineFailed        ModelBroken · NotEnoughMemory · EngineDied · OnlyThoughts
    ├── DownloadFailed      ChecksumMismatch
    ├── StorageFailed       DataDirectoryUnusable · DatabaseDamaged · DatabaseTooNew · DiskFull
    └── InternalFailure

``str(error)`` is a sentence for the user; ``hint`` says what to do next; ``code`` is stable and is
what programs compare. The skins translate classes to exit codes and HTTP statuses, each in one table.
"""

import traceback
from typing import ClassVar


class CodingAssistantError(Exception):
    """The root: catch this to catch everything that the product raises on purpose."""

    code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFound(CodingAssistantError):
    """Something was named that is not there, or that belongs to somebody else."""

    code = "not_found"


class ProjectNotFound(NotFound):
    """No project has this id or name."""

    code = "project_not_found"


class SessionNotFound(NotFound):
    """No session has this id."""

    code = "session_not_found"


class ConversationNotFound(NotFound):
    """No conversation has this id."""

    code = "conversation_not_found"


class GenerationNotFound(NotFound):
    """No generation has this id, or it ended too long ago to be followed."""

    code = "generation_not_found"


class ModelUnknown(NotFound):
    """The name is neither in the catalog nor a path to a GGUF file."""

    code = "model_unknown"


class InvalidRequest(CodingAssistantError):
    """The request can never succeed as it stands."""

    code = "invalid_request"


class InvalidText(InvalidRequest):
    """Text that is empty, too long, or holds what no text should: NUL or lone surrogates."""

    code = "invalid_text"


class QuestionTooLong(InvalidRequest):
    """The question alone does not fit into the model's context."""

    code = "question_too_long"


class KeyReused(InvalidRequest):
    """An ``Idempotency-Key`` that names one request came with another."""

    code = "key_reused"


class InvalidImport(InvalidRequest):
    """What was to be imported or restored is not what this program has written."""

    code = "invalid_import"


class InvalidAttachment(InvalidRequest):
    """What was attached to a question is not there, or is not read."""

    code = "invalid_attachment"


class AttachmentTooLarge(InvalidRequest):
    """The attachments of a question are longer than any model could read."""

    code = "attachment_too_large"


class InvalidProject(InvalidRequest):
    """The folder does not exist, is a file, or cannot be read."""

    code = "invalid_project"


class InvalidSetting(InvalidRequest):
    """A setting is unknown or its value is out of range."""

    code = "invalid_setting"


class InvalidModel(InvalidRequest):
    """The model file is of a kind that cannot answer questions."""

    code = "invalid_model"


class Conflict(CodingAssistantError):
    """The request contradicts the present state."""

    code = "conflict"


class ConversationElsewhere(Conflict):
    """The conversation belongs to another session or another project than the one named."""

    code = "conversation_elsewhere"


class ConversationBusy(Conflict):
    """The conversation is still answering its previous question."""

    code = "conversation_busy"


class AlreadyImported(Conflict):
    """The conversation is here already, under the very id that it comes with."""

    code = "already_imported"


class NotReady(CodingAssistantError):
    """Something must be set up first."""

    code = "not_ready"


class ModelMissing(NotReady):
    """The model's weights are not on this machine."""

    code = "model_missing"


class IndexMissing(NotReady):
    """The project has no index yet."""

    code = "index_missing"


class EngineUnavailable(NotReady):
    """The engine died again and again and is not started any more, or is elsewhere and cannot be used."""

    code = "engine_unavailable"


class SystemLacks(NotReady):
    """A system library that the engine needs is not installed."""

    code = "system_lacks"


class Busy(CodingAssistantError):
    """Try again later."""

    code = "busy"

    def __init__(self, message: str, *, hint: str = "", retry_after_seconds: int = 5) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class EngineBusy(Busy):
    """Every slot of the engine is taken, and none came free in time."""

    code = "engine_busy"


class DataDirectoryLocked(Busy):
    """Another process uses the data directory."""

    code = "data_directory_locked"


class EngineFailed(CodingAssistantError):
    """The engine could not do what was asked of it."""

    code = "engine_failed"


class ModelBroken(EngineFailed):
    """The model file is truncated, corrupt, or not a GGUF file."""

    code = "model_broken"


class NotEnoughMemory(EngineFailed):
    """The model with these settings does not fit into this machine's memory.

    ``missing_bytes`` is how much more it would take, 0 where that is not known.
    """

    code = "not_enough_memory"

    def __init__(self, message: str, *, hint: str = "", missing_bytes: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.missing_bytes = missing_bytes


class EngineDied(EngineFailed):
    """The engine's process ended in the middle of its work."""

    code = "engine_died"


class OnlyThoughts(EngineFailed):
    """The model thought, and ended or used its tokens up before it said anything."""

    code = "only_thoughts"


class DownloadFailed(CodingAssistantError):
    """The weights could not be fetched."""

    code = "download_failed"


class ChecksumMismatch(DownloadFailed):
    """The downloaded bytes are not the bytes that the catalog names."""

    code = "checksum_mismatch"


class StorageFailed(CodingAssistantError):
    """The disk refused."""

    code = "storage_failed"


class DataDirectoryUnusable(StorageFailed):
    """The data directory cannot be created or written."""

    code = "data_directory_unusable"


class DatabaseDamaged(StorageFailed):
    """The conversations' database cannot be read; it is left as it is."""

    code = "database_damaged"


class DatabaseTooNew(StorageFailed):
    """The database was written by a newer version of the program."""

    code = "database_too_new"


class DiskFull(StorageFailed):
    """No space is left; nothing that was acknowledged is lost."""

    code = "disk_full"


class InternalFailure(CodingAssistantError):
    """Something went wrong that nobody foresaw; the log has its places."""

    code = "internal"


def error_from(
    code: str, message: str, hint: str, *, retry_after_seconds: int | None = None
) -> CodingAssistantError:
    """Return the error that a code names, as it was before it travelled as text.

    An unknown code, one of a newer version, gives the root.
    """
    classes = [CodingAssistantError]
    for error_class in classes:
        classes.extend(error_class.__subclasses__())
    chosen = next((each for each in classes if each.code == code), CodingAssistantError)
    error = chosen(message, hint=hint)
    if isinstance(error, Busy) and retry_after_seconds is not None:
        error.retry_after_seconds = retry_after_seconds
    return error


def places(error: BaseException) -> str:
    """Return the kinds of an error and of its causes with the places that they passed.

    For logs: an error's message may quote code or a question, so none is in here.
    """
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None:
        lines += (type(current).__name__, *traceback.format_tb(current.__traceback__))
        current = current.__cause__ or current.__context__
    return "\n".join(line.rstrip() for line in lines)
