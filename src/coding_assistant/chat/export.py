"""A conversation as a document of its own."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from enum import Enum
from pathlib import Path, PurePosixPath

from coding_assistant.domain import Answer, Conversation, Project, Turn

FORMAT = "coding-assistant conversation 1"
"""Named in the JSON, so that a reader knows what it has before it trusts the fields."""


def conversation_as_markdown(conversation: Conversation, project: Project, turns: Iterable[Turn]) -> str:
    """Return the conversation as Markdown: questions as headings, citations as ``path:lines``."""
    head = (
        f"# {conversation.title}\n\nProject: {project.name} · {conversation.created_at:%Y-%m-%d %H:%M} UTC\n"
    )
    return "\n".join((head, *(_turn_as_markdown(turn) for turn in turns)))


def conversation_as_json(conversation: Conversation, project: Project, turns: Iterable[Turn]) -> str:
    """Return all that is kept of the conversation as JSON, indented."""
    document = {
        "format": FORMAT,
        "conversation": asdict(conversation),
        "project": asdict(project),
        "turns": [asdict(turn) for turn in turns],
    }
    return json.dumps(document, default=_as_text, ensure_ascii=False, indent=2) + "\n"


def _turn_as_markdown(turn: Turn) -> str:
    return "\n".join((f"## {turn.question}\n", *_answer_lines(turn.answer)))


def _answer_lines(answer: Answer | None) -> Iterator[str]:
    if answer is None:
        yield "*(not answered yet)*\n"
        return
    yield f"{answer.text or '*(no text)*'}\n"
    for citation in answer.citations:
        yield f"- [{citation.source.number}] `{citation.location}` ({citation.state})"
    yield f"\n*{answer.model}, {answer.finish}*\n"


def _as_text(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case Enum() | Path() | PurePosixPath():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no form in an export")
