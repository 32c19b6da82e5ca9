"""An exported conversation, read in again: checked as a stranger's before anything of it is kept.

What would have power here is left out: an answer's tokens, which could be any of the model's control tokens,
the model, which could be any file of this machine, and the primer, which is of the project as it was
elsewhere.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Final, NoReturn

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from coding_assistant.chat.export import FORMAT, ConversationDocument
from coding_assistant.chat.tables import WORD_LENGTH
from coding_assistant.domain import Answer, Chunk, Finish, Source, Turn
from coding_assistant.errors import InvalidImport

FORMATS: Final = ("coding-assistant conversation 1", FORMAT)
"""Those that are understood; the first knew no summaries, tokens and commits."""

MOST_INTEGER: Final = 2**31 - 1
"""What an integer column of every database holds."""

_MOST_NUMBER: Final = 2**53
"""The largest integer that every JSON reader keeps exact; an infinity is larger."""

_ID_DIGITS: Final = frozenset("0123456789abcdef")
_ID_LENGTH: Final = 32
_COMMIT_LENGTHS: Final = (0, 40, 64)
_DEEPEST: Final = 16
_FIRST_YEAR, _LAST_YEAR = 1970, 9000

_DOCUMENT: Final = TypeAdapter(ConversationDocument)


def read_document(data: bytes) -> ConversationDocument:
    """Return the conversation of a JSON export, ready to be kept.

    An answer that was still being made is one that was interrupted. Raises ``InvalidImport``, which says
    where the document is not as it should be.
    """
    fields = _fields_of(data)
    if fields.get("format") not in FORMATS:
        _refuse("format", f"it is not {FORMAT!r}, nor an earlier one")
    for where, value in _leaves(fields):
        _require_plain(where, value)
    try:
        document = _DOCUMENT.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        _refuse(".".join(map(str, first["loc"])) or "document", first["msg"])
    _require_sound(document)
    return replace(
        document,
        conversation=replace(document.conversation, primer="", deleted_at=None, model=None),
        turns=tuple(_without_tokens(turn) for turn in document.turns),
    )


def _fields_of(data: bytes) -> dict[str, object]:
    try:
        fields: object = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        _refuse("document", f"it is not JSON: {error}")
    if not isinstance(fields, dict):
        _refuse("document", "it is not a JSON object")
    return fields


def _leaves(value: object) -> Iterator[tuple[str, object]]:
    """Yield every value in the JSON that has no parts, and every name, with its place."""
    waiting: list[tuple[str, object, int]] = [("document", value, 0)]
    while waiting:
        where, each, depth = waiting.pop()
        if depth > _DEEPEST:
            _refuse(where, "it is nested too deep")
        if isinstance(each, dict):
            yield from ((where, name) for name in each)
            waiting.extend((f"{where}.{name}", part, depth + 1) for name, part in each.items())
        elif isinstance(each, list):
            waiting.extend((f"{where}.{number}", part, depth + 1) for number, part in enumerate(each))
        else:
            yield where, each


def _require_plain(where: str, value: object) -> None:
    """Refuse what no database keeps: NUL, half surrogates, numbers beyond all use."""
    match value:
        case str() if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            _refuse(where, "it holds a NUL character or half of a surrogate pair")
        case int() | float() if not -_MOST_NUMBER <= value <= _MOST_NUMBER:
            _refuse(where, "it is too large a number")
        case _:
            pass


def _require_sound(document: ConversationDocument) -> None:
    conversation, project = document.conversation, document.project
    for where, each in (("conversation", conversation.id), ("session", conversation.session_id)):
        _require_id(f"{where}.id", each)
    _require_moment("conversation.created_at", conversation.created_at)
    _require_moment("conversation.updated_at", conversation.updated_at)
    if not conversation.title.strip():
        _refuse("conversation.title", "it is empty")
    if not project.root.is_absolute():
        _refuse("project.root", "it is not an absolute path")
    if not project.name.strip():
        _refuse("project.name", "it is empty")
    last = 0
    for index, turn in enumerate(document.turns):
        _require_sound_turn(f"turns.{index}", turn, document=document, after=last)
        last = turn.number
    for index, summary in enumerate(document.summaries):
        _require_moment(f"summaries.{index}.made_at", summary.made_at)
        if not 1 <= summary.last_turn <= last:
            _refuse(f"summaries.{index}.last_turn", "there is no such turn")
    ids = [turn.id for turn in document.turns]
    if len(ids) != len(set(ids)):
        _refuse("turns", "two of them have one id")


def _require_sound_turn(where: str, turn: Turn, *, document: ConversationDocument, after: int) -> None:
    _require_id(f"{where}.id", turn.id)
    _require_moment(f"{where}.asked_at", turn.asked_at)
    if turn.conversation_id != document.conversation.id:
        _refuse(f"{where}.conversation_id", "it is another conversation's")
    if not after < turn.number <= MOST_INTEGER:
        _refuse(f"{where}.number", "turns are to be numbered upwards from 1")
    if len(turn.commit) not in _COMMIT_LENGTHS or not _ID_DIGITS.issuperset(turn.commit):
        _refuse(f"{where}.commit", "it is not a commit's hash")
    numbers = [source.number for source in turn.sources]
    if len(numbers) != len(set(numbers)):
        _refuse(f"{where}.sources", "two of them have one number")
    for source in turn.sources:
        _require_sound_source(f"{where}.sources", source)
    if turn.answer is not None:
        _require_sound_answer(f"{where}.answer", turn.answer)


def _require_sound_answer(where: str, answer: Answer) -> None:
    _require_moment(f"{where}.finished_at", answer.finished_at)
    for place in answer.grounding.nearest:
        if not 1 <= place.line <= MOST_INTEGER:
            _refuse(f"{where}.grounding", "lines are numbered from 1")
    for citation in answer.citations:
        _require_sound_source(f"{where}.citations", citation.source)
        if not 1 <= citation.start_line <= citation.end_line <= MOST_INTEGER:
            _refuse(f"{where}.citations", "its lines are not in order")


def _require_sound_source(where: str, source: Source) -> None:
    if not 1 <= source.number <= MOST_INTEGER:
        _refuse(f"{where}.number", "sources are numbered from 1")
    chunk: Chunk = source.chunk
    if not 1 <= chunk.start_line <= chunk.end_line <= MOST_INTEGER:
        _refuse(f"{where}.chunk", "its lines are not in order")
    # An answer's sources are compared with the files at their paths: none may lead out of the project.
    if chunk.path.is_absolute() or ".." in chunk.path.parts or PurePath(str(chunk.path)).is_absolute():
        _refuse(f"{where}.chunk.path", "it leads out of the project")
    if len(chunk.kind.value) > WORD_LENGTH:
        _refuse(f"{where}.chunk.kind", "it is too long")


def _require_id(where: str, value: str) -> None:
    if len(value) != _ID_LENGTH or not _ID_DIGITS.issuperset(value):
        _refuse(where, "it is not 32 hexadecimal digits")


def _require_moment(where: str, moment: datetime) -> None:
    if moment.tzinfo is None:
        _refuse(where, "it has no time zone")
    if not _FIRST_YEAR < moment.year < _LAST_YEAR:
        _refuse(where, "it is out of range")


def _without_tokens(turn: Turn) -> Turn:
    """Return the turn as it is kept: its answer ended, and without tokens of its own."""
    if turn.answer is None:
        interrupted = Answer("", Finish.INTERRUPTED, model="", finished_at=turn.asked_at.astimezone(UTC))
        return replace(turn, answer=interrupted)
    return replace(turn, answer=replace(turn.answer, tokens=(), vocabulary=""))


def _refuse(where: str, why: str) -> NoReturn:
    raise InvalidImport(
        f"This is not a conversation that can be imported: {where[:200]}: {why}.",
        hint="Import what `coding-assistant conversations export --format json` has written.",
    )
