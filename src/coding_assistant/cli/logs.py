"""Where commands log: bounded files in the data directory, never the terminal, and never what was said.

A log gets pasted into reports. So of an exception it holds the kind and the places that it passed; the
message may quote code or a question.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import CodingAssistantError, places
from coding_assistant.settings import home_folder

COMMAND_LOG = "command.log"
SERVER_LOG = "server.log"

_LOG_BYTES = 5_000_000
_LOGS_KEPT = 2

logger = logging.getLogger(__name__)


class PlacesOnly(logging.Formatter):
    """Writes an exception without its message, whoever logs it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatException(  # noqa: N802  -- the library's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Return what a log may hold of an exception."""
        return "no exception" if ei[1] is None else places(ei[1])


class BoundedLog(RotatingFileHandler):
    """Appends to a file that cannot grow without end; it is made with its folder at the first record.

    What cannot be written is lost: a full disk must not put a traceback on the terminal.
    """

    def __init__(self, home: Path, name: str) -> None:
        self._directory = DataDirectory(home)
        file = self._directory.logs / name
        super().__init__(
            file,
            maxBytes=_LOG_BYTES,
            backupCount=_LOGS_KEPT,
            encoding="utf-8",
            delay=True,
            errors="backslashreplace",
        )
        self.setFormatter(PlacesOnly())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, if it can be written."""
        try:
            self._directory.prepare()
        except CodingAssistantError:
            return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  -- the library's name
        """Lose the record."""


def log_to(handlers: Sequence[logging.Handler]) -> None:
    """Send warnings and errors, of every library too, to these and nowhere else."""
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)


def log_command() -> None:
    """Keep the warnings and errors of this run in the command's log."""
    home = _home()
    log_to([logging.NullHandler() if home is None else BoundedLog(home, COMMAND_LOG)])


def log_fault(error: Exception) -> Path | None:
    """Log where the program failed, and return the file; None where none can be written. Never fails."""
    home = _home()
    if home is None:
        return None
    fault = "unexpected fault", (), (type(error), error, error.__traceback__)
    with closing(BoundedLog(home, COMMAND_LOG)) as log:
        log.handle(logger.makeRecord(__name__, logging.ERROR, __file__, 0, *fault))
        file = Path(log.baseFilename)
    return file if os.access(file, os.W_OK) else None


def _home() -> Path | None:
    try:
        return home_folder(os.environ)
    except CodingAssistantError:  # the command itself says what is wrong
        return None
