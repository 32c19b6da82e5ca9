"""A conversation as a document of its own: to read, or to be read in again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from coding_assistant.chat.compaction import numbered_turns
from coding_assistant.chat.title import title_from
from coding_assistant.domain import (
    Answer,
    Conversation,
    Project,
    Source,
    SourceOrigin,
    Summary,
    SummaryOrigin,
    Turn,
)

FORMAT: Final = "coding-assistant conversation 2"
"""Named in the JSON, so that a reader knows what it has before it trusts the fields."""

SHORT_COMMIT: Final = 7
"""Digits of a commit that are shown, as git itself does."""

_AUTHORS: Final[Mapping[SummaryOrigin, str]] = MappingProxyType(
    {SummaryOrigin.MODEL: "that it wrote", SummaryOrigin.EXTRACT: "made by rule"}
)


@dataclass(frozen=True, slots=True)
class ConversationDocument:
    """All that is kept of a conversation."""

    conversation: Conversation
    project: Project
    turns: tuple[Turn, ...]
    summaries: tuple[Summary, ...] = ()


def as_json(document: ConversationDocument) -> str:
    """Return the document as JSON, indented."""
    fields = {"format": FORMAT, **asdict(document)}
    return json.dumps(fields, default=_as_text, ensure_ascii=False, indent=2) + "\n"


def as_markdown(document: ConversationDocument) -> str:
    """Return the questions and answers as Markdown, each citation as ``path:lines @ commit``.

    The commit is what was checked out when the question was asked; what was not committed then is not in it.
    A summary follows the last turn that it stands for.
    """
    conversation, project = document.conversation, document.project
    head = (
        f"# {conversation.title}\n\nProject: {project.name} · {conversation.created_at:%Y-%m-%d %H:%M} UTC\n"
    )
    told: list[Turn | Summary] = [*document.turns, *document.summaries]
    told.sort(key=_place)
    return "\n".join((head, *(line for each in told for line in _lines(each))))


def summary_heading(last_turn: int, origin: SummaryOrigin) -> str:
    """Return what a summary is for, and who wrote it."""
    turns = numbered_turns(1, last_turn)
    return f"From here on, the model reads a summary {_AUTHORS[origin]} in place of {turns}"


def _place(told: Turn | Summary) -> tuple[int, bool]:
    return (told.last_turn, True) if isinstance(told, Summary) else (told.number, False)


def _lines(told: Turn | Summary) -> Iterator[str]:
    return _summary_lines(told) if isinstance(told, Summary) else _turn_lines(told)


def _summary_lines(summary: Summary) -> Iterator[str]:
    yield f"> **{summary_heading(summary.last_turn, summary.origin)}:**\n>"
    for line in summary.text.splitlines():
        yield f"> {line}".rstrip()
    yield ""


def _turn_lines(turn: Turn) -> Iterator[str]:
    if "\n" in turn.question:
        yield f"## {title_from(turn.question)}\n"
        yield f"{turn.question}\n"
    else:
        yield f"## {turn.question}\n"
    if turn.answer is None:
        yield "*(not answered yet)*\n"
        return
    yield from _answer_lines(turn.answer, turn)


def _answer_lines(answer: Answer, turn: Turn) -> Iterator[str]:
    yield f"{answer.text or '*(no text)*'}\n"
    pin = f" @ {turn.commit[:SHORT_COMMIT]}" if turn.commit else ""
    for citation in answer.citations:
        its_pin = _pin_of(citation.source, pin)
        yield f"- [{citation.source.number}] `{citation.location}{its_pin}` ({citation.state})"
    if answer.citations:
        yield ""
    if names := answer.grounding.unverified_names:
        yield f"Not in the project: {', '.join(f'`{name}`' for name in names)}\n"
    if turn.sources:
        yield f"Sources: {_source_list(turn.sources, pin)}\n"
    failure = f": {answer.failure}" if answer.failure else ""
    yield f"*{answer.model}, {answer.finish}{failure}*\n"


def _source_list(sources: Sequence[Source], pin: str) -> str:
    return ", ".join(
        f"[{source.number}] `{source.chunk.location}{_pin_of(source, pin)}`" for source in sources
    )


def _pin_of(source: Source, pin: str) -> str:
    """Return the commit that a source is of; a text that came with the question is of none."""
    return "" if source.origin is SourceOrigin.GIVEN else pin


def _as_text(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case Enum() | Path() | PurePosixPath():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no form in an export")
