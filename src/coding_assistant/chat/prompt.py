"""From a conversation and what was found to the tokens that the model reads.

The prompt only grows at its end: the system part never changes, a turn is rendered the same way each time, an
answer goes in as the tokens that the model wrote, and a source is shown in full once, in the turn that found
it. So the engine's cache holds all but the new turn. When the context is full, a summary takes the place of
the older turns (``chat/compaction.py``), and from there the prompt only grows again.

This module knows nothing of storage or of how code is searched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile

from coding_assistant.chat.attachments import with_lines
from coding_assistant.chat.compaction import TurnCost, extracted_summary, first_kept, summary_limit
from coding_assistant.chat.receipt import Budget, receipt_for
from coding_assistant.chat.rendering import (
    SOURCE_OVERHEAD_TOKENS,
    ConversationText,
    Counts,
    render_conversation,
)
from coding_assistant.domain import Message, Receipt, Role, Source, SourceOrigin, Summary
from coding_assistant.errors import QuestionTooLong
from coding_assistant.protocols import Engine

QUESTION_TOKENS = 64
"""What reading ahead leaves for the question that it does not know yet."""

# Texts that begin alike in no vocabulary: what is common to prompts that go on with them stands before them.
_BEGINNINGS = ("A", "1", "[")


@dataclass(frozen=True, slots=True)
class ComposedPrompt:
    """The tokens to read, the messages that they say, the new turn's sources, and the receipt for all.

    ``shown`` are all sources in the prompt, those of the turns before among them: what can be cited.
    ``summary`` is a new one, to be kept: the prompts to come depend on it.
    """

    tokens: tuple[int, ...]
    sources: tuple[Source, ...]
    shown: tuple[Source, ...]
    receipt: Receipt
    summary: Summary | None = None
    messages: tuple[Message, ...] = ()


async def compose(
    engine: Engine, conversation: ConversationText, *, budget: Budget, vocabulary: str, now: datetime
) -> ComposedPrompt:
    """Return the prompt for a question, within the budget to the token.

    When it is full, older turns go into a new summary; then sources that do not fit go, from the least good;
    then lines of what came with the question. Each is on the receipt. Raises ``QuestionTooLong`` when the
    question and the instructions alone are over the budget.
    """
    counts = Counts(engine, vocabulary)
    fitted = conversation
    messages = render_conversation(fitted, vocabulary=vocabulary)
    tokens = await engine.encode(messages)
    if len(tokens) > budget.prompt:
        fitted = await _compacted(counts, conversation, budget=budget, now=now)
        messages = render_conversation(fitted, vocabulary=vocabulary)
        tokens = await engine.encode(messages)
    receipt = await receipt_for(counts, conversation, fitted, tokens=len(tokens), budget=budget)
    is_new = len(fitted.summarised) > len(conversation.summarised)
    summary = fitted.summary if is_new else None
    return ComposedPrompt(tokens, fitted.sources, fitted.shown, receipt, summary, messages)


async def common_front(engine: Engine, system: str) -> tuple[int, ...]:
    """Return the tokens that every conversation with this system text begins with."""
    openings = [
        await engine.encode((Message(Role.SYSTEM, system), Message(Role.USER, beginning)))
        for beginning in _BEGINNINGS
    ]
    return _common_prefix(openings)


async def opening_of_turn(
    engine: Engine, conversation: ConversationText, *, budget: Budget, vocabulary: str
) -> tuple[int, ...]:
    """Return the tokens of the prompt up to where the question's own text begins, to be read ahead.

    Empty when a question would hardly fit behind them: then the conversation is going to be compacted, and
    its prompt will be another one.
    """
    openings = []
    for beginning in _BEGINNINGS:
        asked = replace(conversation, question=beginning)
        openings.append(await engine.encode(render_conversation(asked, vocabulary=vocabulary)))
    opening = _common_prefix(openings)
    return opening if len(opening) + QUESTION_TOKENS <= budget.prompt else ()


def _common_prefix(sequences: Sequence[Sequence[int]]) -> tuple[int, ...]:
    columns = zip(*sequences, strict=False)
    return tuple(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))


def question_too_long(question_tokens: int, *, front: int, budget: Budget) -> QuestionTooLong:
    """Return the refusal with its numbers."""
    room = max(0, budget.prompt - front)
    return QuestionTooLong(
        f"The question takes {question_tokens:,} tokens; there is room for {room:,}: the context of"
        f" {budget.limit:,} less {budget.reserved:,} for the reply and {front:,} for the instructions.",
        hint="Shorten the question, ask for a shorter reply, or choose a model with a larger context.",
    )


async def _compacted(
    counts: Counts, conversation: ConversationText, *, budget: Budget, now: datetime
) -> ConversationText:
    """Return the conversation cut down to the low-water mark: older turns in a summary, fewer sources."""
    asked = await counts.question(conversation.question, conversation.note)
    front = await counts.front(conversation)
    if front + asked > budget.prompt:
        raise question_too_long(asked, front=front, budget=budget)
    # Half of what the question leaves, where a context is so small that a summary would take all of it.
    room = budget.prompt - front - asked
    most_tokens = min(summary_limit(budget.limit), room // 2)
    conversation = await _with_fitting_summary(counts, conversation, most_tokens)
    past = conversation.kept
    costs = [await counts.turn(turn) for turn in past]
    for_summary = most_tokens + SOURCE_OVERHEAD_TOKENS if conversation.past else 0
    # Neither does the last turn make way for sources, nor do sources for a last turn that is half of it all.
    last = costs[-1].total if costs and costs[-1].total <= room // 2 else 0
    sources = await _fitting(counts, conversation.sources, room - for_summary - last)
    start = first_kept(
        costs,
        new=TurnCost(asked, 0, await counts.sources(sources)),
        summary=for_summary,
        room=budget.prompt - front,
    )
    summary = conversation.summary
    if start:
        summary = await extracted_summary(
            counts.text, past[:start], previous=summary, most_tokens=most_tokens, now=now
        )
    return replace(conversation, summary=summary, sources=sources)


async def _with_fitting_summary(
    counts: Counts, conversation: ConversationText, most_tokens: int
) -> ConversationText:
    """Return the conversation with its summary, cut if it was made for a larger context."""
    summary = conversation.summary
    if summary is None or await counts.summary(conversation) <= most_tokens + SOURCE_OVERHEAD_TOKENS:
        return conversation
    shorter = await extracted_summary(
        counts.text, (), previous=summary, most_tokens=most_tokens, now=summary.made_at
    )
    return replace(conversation, summary=shorter)


async def _fitting(counts: Counts, sources: Sequence[Source], room: int) -> tuple[Source, ...]:
    """Return the sources that fit, the best ones first; but before all what came with the question.

    Of that, as many lines as fit are better than none.
    """
    kept: dict[int, Source] = {}
    for source in sorted(sources, key=lambda each: each.origin is SourceOrigin.FOUND):
        fitted: Source | None = source
        cost = await counts.source(source)
        if cost > room:
            fitted = await _lines_that_fit(counts, source, room)
            cost = await counts.source(fitted) if fitted else 0
        if fitted is not None:
            kept[source.number] = fitted
            room -= cost
    return tuple(kept[source.number] for source in sources if source.number in kept)


async def _lines_that_fit(counts: Counts, source: Source, room: int) -> Source | None:
    """Return what came with the question cut to the lines that fit; None where there are none."""
    if source.origin is SourceOrigin.FOUND:
        return None
    fits, too_many = 0, source.chunk.end_line - source.chunk.start_line + 1
    while too_many - fits > 1:
        tried = (fits + too_many) // 2
        if await counts.source(with_lines(source, tried)) <= room:
            fits = tried
        else:
            too_many = tried
    return with_lines(source, fits) if fits else None
