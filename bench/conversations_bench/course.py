"""In which order the questions are asked: ten turns, conversations in turn, and after a restart.

The first conversation is the long one. It has its ten turns alone; then all conversations take turns, so that
each of its follow-ups comes after three others; then the service is restarted, and each is taken up again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

_CONVERSATIONS = TypeAdapter(dict[str, list[str]])


class After(StrEnum):
    """What came right before a question, as far as the engine's cache is concerned."""

    NOTHING = "new conversation"
    SAME = "same conversation"
    OTHERS = "other conversations"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Step:
    """One question: of which conversation it is which turn, from 1."""

    conversation: str
    turn: int
    question: str
    after: After

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.conversation}{self.turn}"


def read_conversations(file: Path) -> dict[str, list[str]]:
    """Return the questions of each conversation, by its name, the long one first."""
    return _CONVERSATIONS.validate_json(file.read_bytes())


def course(conversations: Mapping[str, Sequence[str]], *, turns: int, switches: int) -> list[Step]:
    """Return the steps. Raises ``ValueError`` if a conversation has too few questions."""
    long, *others = conversations
    needed = {long: turns + switches + 1} | dict.fromkeys(others, switches + 1)
    for name, count in needed.items():
        if len(conversations[name]) < count:
            raise ValueError(
                f"conversation {name} needs {count} questions and has {len(conversations[name])}"
            )
    return list(_steps(conversations, turns, switches))


def _steps(conversations: Mapping[str, Sequence[str]], turns: int, switches: int) -> Iterator[Step]:
    long, *others = conversations
    for turn in range(1, turns + 1):
        yield _step(conversations, long, turn, After.SAME)
    for switch in range(1, switches + 1):
        for name in others:
            yield _step(conversations, name, switch, After.OTHERS)
        yield _step(conversations, long, turns + switch, After.OTHERS)
    yield _step(conversations, long, turns + switches + 1, After.RESTART)
    for name in others:
        yield _step(conversations, name, switches + 1, After.RESTART)


def _step(conversations: Mapping[str, Sequence[str]], name: str, turn: int, after: After) -> Step:
    step = Step(name, turn, conversations[name][turn - 1], after)
    return replace(step, after=After.NOTHING) if turn == 1 else step
