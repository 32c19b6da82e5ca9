"""An answer held against its project: what is noted of the question, and what is found wanting afterwards.

The model is told of words in the question that the project lacks. An answer whose point is a name that stands
nowhere in it is asked for once more, with that said. One that finds nothing is told apart, with what was
searched and the nearest that is there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from coding_assistant.chat.bare_answers import WORDS_NOTE, is_bare
from coding_assistant.chat.lacking_words import lacking_note, telling_words
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.prompt import ComposedPrompt
from coding_assistant.chat.refusals import says_not_found
from coding_assistant.chat.unverified_names import MOST_NAMES, are_the_point, project_names, retry_note
from coding_assistant.domain import Grounding, NamedPlace, Source, SourceOrigin
from coding_assistant.protocols import Engine
from coding_assistant.terms import query_terms

MOST_NEAREST: Final = 5

# Whoever has code written wants names that are not there yet.
_ASKS_FOR_NEW_CODE: Final = re.compile(
    r"^\W*(?:(?:please|can you|could you|would you|i want you to|now|then|and|also)\W+)*"
    r"(?:write|implement|create|generate|add|refactor|rewrite|rename|replace|convert|port|draft|suggest|propose"
    r"|review|fix|extend|translate|show me how to)\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class GroundingRules:
    """What is done against inventions; each can be left out, to measure what it is worth."""

    notes_lacking_words: bool = True
    asks_again: bool = True
    tells_not_found: bool = True


@dataclass(frozen=True, slots=True)
class GroundedQuestion:
    """A question that is to be answered from a project, and what is known of it before.

    ``searched`` and ``files``: for what it was searched, and in how many files. ``makes_new``: the answer may
    name what is not there, for it is asked for new code, or about something that came with the question.
    """

    text: str
    lacking: tuple[str, ...]
    files: int
    makes_new: bool

    @property
    def searched(self) -> tuple[str, ...]:
        """The words that it was searched for, names first."""
        terms = query_terms(self.text)
        parts = {part.lower() for name in terms.names for part in _WORD.findall(name)}
        return (*terms.names, *(word for word in terms.words if word not in parts))


async def grounded_question(
    text: str, code: ProjectCode, *, files: int, sources: Sequence[Source], makes_new: bool = False
) -> GroundedQuestion:
    """Return what is known of a question before it is answered from these sources."""
    is_about_more = makes_new or any(source.origin is not SourceOrigin.FOUND for source in sources)
    words = () if is_about_more or not sources else telling_words(text)
    absent = await code.absent_words(words)
    return GroundedQuestion(
        text,
        tuple(word for word in words if word in absent),
        files,
        makes_new=is_about_more or not sources or bool(_ASKS_FOR_NEW_CODE.match(text)),
    )


def question_note(question: GroundedQuestion, rules: GroundingRules) -> str:
    """Return what the model is told behind the question; mostly nothing."""
    if not rules.notes_lacking_words or question.makes_new:
        return ""
    return lacking_note(question.lacking)


async def grounding_of(
    answer: str, question: GroundedQuestion, code: ProjectCode, *, shown: Sequence[Source]
) -> Grounding:
    """Return what of an answer the project does not bear out; ``shown`` is all that the model read of it."""
    names = [name for name in project_names(answer) if not _is_said(name, question.text, shown)]
    absent = await code.absent_names(names[:MOST_NAMES])
    return Grounding(unverified_names=tuple(name for name in names if name in absent))


def is_to_be_taken_back(
    answer: str, grounding: Grounding, question: GroundedQuestion, rules: GroundingRules
) -> bool:
    """Return whether an answer is to be asked for once more, without the names that it made up."""
    if not rules.asks_again or question.makes_new or not grounding.unverified_names:
        return False
    is_point = bool(question.lacking) or are_the_point(grounding.unverified_names, answer)
    return is_point and not says_not_found(answer)


def told_not_found(
    grounding: Grounding,
    answer: str,
    question: GroundedQuestion,
    rules: GroundingRules,
    sources: Sequence[Source],
) -> Grounding:
    """Return the grounding with what was searched and what is nearest, if the answer found nothing."""
    if not rules.tells_not_found or question.makes_new or not says_not_found(answer):
        return grounding
    return replace(
        grounding,
        not_found=True,
        searched_files=question.files,
        searched_words=question.searched,
        nearest=nearest(sources),
    )


def nearest(sources: Sequence[Source]) -> tuple[NamedPlace, ...]:
    """Return what the best of the sources are called and where they begin, without a name twice."""
    places: dict[tuple[str, PurePosixPath], NamedPlace] = {}
    for chunk in (source.chunk for source in sources):
        name = chunk.symbol or chunk.path.name
        places.setdefault((name, chunk.path), NamedPlace(name, chunk.path, chunk.start_line))
    return tuple(places.values())[:MOST_NEAREST]


def note_to_ask_again(
    answer: str, grounding: Grounding, question: GroundedQuestion, rules: GroundingRules
) -> str:
    """Return what the model is told when it is to answer once more; empty for an answer that stands."""
    if is_to_be_taken_back(answer, grounding, question, rules):
        return retry_note(grounding.unverified_names)
    return WORDS_NOTE if rules.asks_again and is_bare(answer) else ""


async def asked_again(
    engine: Engine, composed: ComposedPrompt, note: str, *, most_tokens: int
) -> ComposedPrompt | None:
    """Return the prompt with a note behind the question; None if there is no room.

    It differs from the first at its very end: the engine reads no more than the note.
    """
    *before, asked = composed.messages
    messages = (*before, replace(asked, text=f"{asked.text}\n\n{note}"))
    tokens = await engine.encode(messages)
    if len(tokens) > most_tokens:
        return None
    return replace(composed, tokens=tokens, messages=messages)


def _is_said(name: str, question: str, shown: Sequence[Source]) -> bool:
    """Return whether a name stands in the question or in a source."""
    whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    return any(whole.search(text) for text in (question, *(source.chunk.text for source in shown)))
