"""Rows of the conversations' tables to the domain's values, and back.

What has no identity of its own (citations, receipt, timings) is kept as JSON. A citation keeps the
whole source with it, so that an old answer stays readable whatever becomes of the code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from pydantic import TypeAdapter
from sqlalchemy import RowMapping

from coding_assistant.domain import (
    Answer,
    Chunk,
    ChunkKind,
    Citation,
    ContextLine,
    Conversation,
    Finish,
    Grounding,
    Project,
    Receipt,
    Session,
    Source,
    Summary,
    SummaryOrigin,
    Timings,
    Turn,
)

Values: TypeAlias = Mapping[str, object]
"""The columns to write, by name."""

_CONTEXT: Final = TypeAdapter(tuple[ContextLine, ...])
_CITATIONS: Final = TypeAdapter(tuple[Citation, ...])
_UNKNOWN_CITATIONS: Final = TypeAdapter(tuple[int, ...])
_RECEIPT: Final = TypeAdapter(Receipt)
_TIMINGS: Final = TypeAdapter(Timings)
_GROUNDING: Final = TypeAdapter(Grounding)


def project_from(row: RowMapping) -> Project:
    """Return the project of a row of ``projects``."""
    return Project(id=row["id"], root=Path(row["root"]), name=row["name"])


def session_from(row: RowMapping) -> Session:
    """Return the session of a row of ``sessions`` with its ``conversation_count``."""
    return Session(
        id=row["id"],
        created_at=row["created_at"],
        last_active_at=row["last_active_at"],
        conversation_count=row["conversation_count"],
    )


def conversation_from(row: RowMapping) -> Conversation:
    """Return the conversation of a row of ``conversations`` with its ``turn_count``."""
    return Conversation(
        id=row["id"],
        session_id=row["session_id"],
        project_id=row["project_id"],
        title=row["title"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        pinned=row["pinned"],
        archived=row["archived"],
        turn_count=row["turn_count"],
        primer=row["primer"],
        deleted_at=row["deleted_at"],
        model=row["model"],
    )


def conversation_values(conversation: Conversation) -> Values:
    """Return the columns of ``conversations`` that the domain knows."""
    return {
        "id": conversation.id,
        "session_id": conversation.session_id,
        "project_id": conversation.project_id,
        "title": conversation.title,
        "pinned": conversation.pinned,
        "archived": conversation.archived,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "primer": conversation.primer,
        "deleted_at": conversation.deleted_at,
        "model": conversation.model,
    }


def turn_from(row: RowMapping, sources: Sequence[Source]) -> Turn:
    """Return the turn of a row of ``turns``; while the model is at work it has no answer."""
    return Turn(
        id=row["id"],
        conversation_id=row["conversation_id"],
        number=row["number"],
        question=row["question"],
        asked_at=row["asked_at"],
        sources=tuple(sources),
        answer=None if row["finish"] is None else _answer_from(row),
        commit=row["commit_hash"],
        note=row["note"],
    )


def question_values(turn: Turn, *, model: str) -> Values:
    """Return the row of ``turns`` for a question whose answer is still to come."""
    return {
        "id": turn.id,
        "conversation_id": turn.conversation_id,
        "number": turn.number,
        "question": turn.question,
        "asked_at": turn.asked_at,
        "model": model,
        "answer_text": "",
        "failure": "",
        "commit_hash": turn.commit,
        "note": turn.note,
    }


def answer_values(answer: Answer) -> Values:
    """Return the columns of ``turns`` that an answer fills."""
    receipt = answer.receipt
    return {
        "answer_text": answer.text,
        "finish": answer.finish.value,
        "model": answer.model,
        "finished_at": answer.finished_at,
        "citations": _CITATIONS.dump_python(answer.citations, mode="json"),
        "unknown_citations": _UNKNOWN_CITATIONS.dump_python(answer.unknown_citations, mode="json"),
        "receipt": None if receipt is None else _RECEIPT.dump_python(receipt, mode="json"),
        "timings": _TIMINGS.dump_python(answer.timings, mode="json"),
        "failure": answer.failure,
        "answer_tokens": answer.tokens,
        "vocabulary": answer.vocabulary,
        "grounding": _GROUNDING.dump_python(answer.grounding, mode="json"),
    }


def source_from(row: RowMapping) -> Source:
    """Return the source of a row of ``sources``."""
    chunk = Chunk(
        path=PurePosixPath(row["path"]),
        start_line=row["start_line"],
        end_line=row["end_line"],
        text=row["text"],
        language=row["language"],
        symbol=row["symbol"],
        kind=ChunkKind(row["kind"]),
        context=_CONTEXT.validate_python(row["context"] or ()),
    )
    return Source(number=row["number"], chunk=chunk, digest=row["digest"])


def source_values(turn_id: str, source: Source) -> Values:
    """Return the row of ``sources`` for a source that a turn showed."""
    chunk = source.chunk
    return {
        "turn_id": turn_id,
        "number": source.number,
        "path": str(chunk.path),
        "start_line": chunk.start_line,
        "end_line": chunk.end_line,
        "text": chunk.text,
        "language": chunk.language,
        "symbol": chunk.symbol,
        "kind": chunk.kind.value,
        "digest": source.digest,
        "context": _CONTEXT.dump_python(chunk.context, mode="json") or None,
    }


def summary_from(row: RowMapping) -> Summary:
    """Return the summary of a row of ``summaries``."""
    return Summary(
        last_turn=row["last_turn"],
        text=row["text"],
        origin=SummaryOrigin(row["origin"]),
        made_at=row["made_at"],
    )


def summary_values(conversation_id: str, summary: Summary) -> Values:
    """Return the columns of ``summaries`` that the domain knows."""
    return {
        "conversation_id": conversation_id,
        "last_turn": summary.last_turn,
        "text": summary.text,
        "origin": summary.origin.value,
        "made_at": summary.made_at,
    }


def _answer_from(row: RowMapping) -> Answer:
    receipt, timings, grounding = row["receipt"], row["timings"], row["grounding"]
    return Answer(
        text=row["answer_text"],
        finish=Finish(row["finish"]),
        model=row["model"],
        finished_at=row["finished_at"],
        citations=_CITATIONS.validate_python(row["citations"] or ()),
        unknown_citations=_UNKNOWN_CITATIONS.validate_python(row["unknown_citations"] or ()),
        receipt=None if receipt is None else _RECEIPT.validate_python(receipt),
        timings=Timings() if timings is None else _TIMINGS.validate_python(timings),
        failure=row["failure"],
        tokens=row["answer_tokens"],
        vocabulary=row["vocabulary"],
        grounding=Grounding() if grounding is None else _GROUNDING.validate_python(grounding),
    )
