"""What the doctor finds: the outcome of one check, in words for a person and in facts for a program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from coding_assistant.errors import CodingAssistantError

Fact: TypeAlias = str | int | float | bool | list[str] | None


class Verdict(StrEnum):
    """How a check came out. A ``tip`` works, and could be better; a ``fail`` keeps answers from coming."""

    OK = "ok"
    TIP = "tip"
    WARN = "warn"
    FAIL = "fail"


class Check(StrEnum):
    """What is examined. Programs look for these names in ``doctor --json``: none changes its meaning."""

    VERSIONS = "versions"
    SYSTEM = "system"
    SETTINGS = "settings"
    PROCESSOR = "processor"
    DATA_DIRECTORY = "data directory"
    CONVERSATIONS = "conversations"
    DISK = "disk"
    PORT = "port"
    ENGINE = "engine"
    MODEL = "model"
    GPU = "gpu"
    MEMORY = "memory"
    PROMPT_FORMAT = "prompt format"
    SERVER = "server"
    EMBEDDER = "embedder"
    INDEX = "index"
    CHECKSUM = "checksum"
    LOAD = "load"
    ROUND_TRIP = "round trip"
    ANSWER = "answer"
    SPEED = "speed"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check came out. ``advice`` says what to do, and is empty if all is well.

    ``facts`` are what the detail tells, as values: bytes, seconds and tokens a second are in their names.
    """

    check: Check
    verdict: Verdict
    detail: str
    advice: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)


def refused(check: Check, error: CodingAssistantError) -> Finding:
    """Return the finding for what the product refuses."""
    return Finding(check, Verdict.FAIL, error.message, error.hint, {"code": error.code})


def guarded(check: Check, examine: Callable[[], Finding]) -> Finding:
    """Return the finding; what the product or the system refuses is a finding too."""
    try:
        return examine()
    except CodingAssistantError as error:
        return refused(check, error)
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            check,
            Verdict.FAIL,
            f"it cannot be examined: {reason}",
            "Check the permissions, and that the disk is in order.",
        )
