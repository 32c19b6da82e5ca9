"""How a command ends: the exit codes, and the words on the error stream."""

import os
import traceback
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from coding_assistant import errors
from coding_assistant.cli.logs import log_fault
from coding_assistant.cli.screen import Screen, Span

DEBUG_VARIABLE = "CODING_ASSISTANT_DEBUG"


class ExitCode(IntEnum):
    """What a script can tell by."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    NOT_READY = 3
    BUSY = 4
    CANCELLED = 130


EXIT_CODES: Mapping[type[errors.CodingAssistantError], ExitCode] = MappingProxyType(
    {
        errors.CodingAssistantError: ExitCode.FAILURE,
        errors.InvalidRequest: ExitCode.USAGE,
        errors.ModelUnknown: ExitCode.USAGE,
        errors.NotReady: ExitCode.NOT_READY,
        errors.Busy: ExitCode.BUSY,
        errors.ConversationBusy: ExitCode.BUSY,
    }
)
"""An error's code is its own or that of its nearest ancestor here."""


def exit_code_of(error_class: type[errors.CodingAssistantError]) -> ExitCode:
    """Return the exit code of a class of errors."""
    return next(EXIT_CODES[ancestor] for ancestor in error_class.__mro__ if ancestor in EXIT_CODES)


def print_error(screen: Screen, message: str, hint: str = "") -> None:
    """Say what went wrong, and what to do next."""
    screen.line(Span("error: ", "bold red"), message)
    if hint:
        screen.line(Span("hint: ", "bold"), hint)


def print_internal_error(screen: Screen, error: Exception) -> None:
    """Say that the program is at fault, and where the trace is kept; show it only to those who ask."""
    log = log_fault(error)
    kept = f"Where it happened is kept in {log}; please report it." if log else "Please report it."
    print_error(
        screen,
        f"The program itself failed: {type(error).__name__}.",
        f"{kept} With {DEBUG_VARIABLE}=1 it is shown.",
    )
    if os.environ.get(DEBUG_VARIABLE):
        screen.write("".join(traceback.format_exception(error)))
