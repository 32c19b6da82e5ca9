"""What the model reads for an answer, told in tokens: nothing is left out without a line of the receipt."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from coding_assistant.chat.attachments import lines_left_out
from coding_assistant.chat.compaction import numbered_turns
from coding_assistant.chat.rendering import (
    ConversationText,
    Counts,
    new_turn_text,
    render_conversation,
    summary_text,
)
from coding_assistant.chat.sources import CHARACTERS_PER_TOKEN, render_source
from coding_assistant.domain import Answer, Dropped, Message, Receipt, ReceiptSection, Turn

HIGH_WATER = 0.7
"""From this share of a conversation's room on, compaction is near: a summary is made when nobody asks."""


FRONT_SECTIONS = ("system", "primer", "format")
"""What conversations have in common: a cache may hold it of another one."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The tokens that there are: the model's context, less what the reply may take."""

    limit: int
    reserved: int

    @property
    def prompt(self) -> int:
        """What the prompt may take."""
        return self.limit - self.reserved


def is_near_full(held: int, *, front: int, budget: Budget) -> bool:
    """Return whether a prompt of so many tokens leaves little room behind the system text, its ``front``."""
    return held - front >= HIGH_WATER * (budget.prompt - front)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the next question finds, in tokens: ``held`` before it, ``room`` for it and its sources.

    ``is_exact`` where the engine has counted; otherwise ``held`` is estimated. ``summarised`` turns are in
    the summary. ``is_compaction_near``: older turns are about to be summarised.
    """

    limit: int
    reserved: int
    held: int
    room: int
    summarised: int
    is_exact: bool
    is_compaction_near: bool


def forecast(conversation: ConversationText, *, budget: Budget) -> Forecast:
    """Return what the next question finds; no engine is asked, so that none has to be loaded for it."""
    counted = _counted(conversation)
    messages = render_conversation(conversation, vocabulary="")
    front, *spoken = (round(len(message.text) / CHARACTERS_PER_TOKEN) for message in messages)
    held = front + sum(spoken) if counted is None else counted
    return Forecast(
        limit=budget.limit,
        reserved=budget.reserved,
        held=held,
        room=max(0, budget.prompt - held),
        summarised=conversation.summary.last_turn if conversation.summary else 0,
        is_exact=counted is not None,
        is_compaction_near=is_near_full(held, front=front, budget=budget),
    )


def _counted(conversation: ConversationText) -> int | None:
    """Return what the last answer's prompt and the answer took.

    None if the next prompt is another one, or if nothing was counted of the answer.
    """
    answer = conversation.past[-1].answer if conversation.past else None
    summary = conversation.summary
    if not answer or not answer.receipt or (summary and summary.made_at > answer.finished_at):
        return None
    written = _written_tokens(answer) if answer.text else 0  # without words it is not in the next prompt
    return answer.receipt.used + written if written else None


def _written_tokens(answer: Answer) -> int:
    """Return what was counted of the answer, 0 if nothing was: an engine tells its count only at the end."""
    return answer.timings.written_tokens or len(answer.tokens)


def cold_reason(answered_by: Collection[str], *, model: str, is_warm: bool) -> str:
    """Return why a model has to read the turns before again, as a sentence; empty where it has read them.

    ``answered_by`` are the models that have answered. A turn without a word in its answer was refused or
    stopped: it stands in no prompt.
    """
    if is_warm or not answered_by:
        return ""
    if model not in answered_by:
        return f"{model} has not read this conversation yet."
    return f"What {model} had read of this conversation is not kept any more."


def with_counts(receipt: Receipt, *, cached: int, new: int) -> Receipt:
    """Return the receipt with what the engine has counted; more than the front from a cache was not cold."""
    front = sum(section.tokens for section in receipt.sections if section.name in FRONT_SECTIONS)
    return replace(receipt, cached=cached, new=new, cold=receipt.cold if cached <= front else "")


def with_note(receipt: Receipt, tokens: int) -> Receipt:
    """Return the receipt with so many tokens more, that were said behind the question."""
    sections = tuple(
        replace(section, tokens=section.tokens + tokens) if section.name == "question" else section
        for section in receipt.sections
    )
    return replace(receipt, sections=sections)


async def receipt_for(
    counts: Counts,
    wanted: ConversationText,
    fitted: ConversationText,
    *,
    tokens: int,
    budget: Budget,
) -> Receipt:
    """Return the receipt of a prompt of so many tokens, which holds what was fitted of what was wanted."""
    messages = render_conversation(fitted, vocabulary=counts.vocabulary)
    return Receipt(
        limit=budget.limit,
        reserved=budget.reserved,
        sections=await _sections(counts, fitted, messages, total=tokens),
        dropped=(*_turns_dropped(wanted, fitted), *await _sources_dropped(counts, wanted, fitted)),
    )


async def _sources_dropped(
    counts: Counts, conversation: ConversationText, fitted: ConversationText
) -> list[Dropped]:
    shown = {source.number: source for source in fitted.sources}
    left_out = [
        lines_left_out(source, shown.get(source.number))
        for source in conversation.sources
        if source not in fitted.sources
    ]
    return [
        Dropped(
            f"source {source.chunk.location}",
            "no room beside question and reply",
            await counts.source(source),
        )
        for source in left_out
    ]


def _turns_dropped(wanted: ConversationText, fitted: ConversationText) -> tuple[Dropped, ...]:
    """Return the line for the turns that are not in the prompt as they were."""
    summary = fitted.summary
    if not summary:
        return ()
    turns = numbered_turns(1, summary.last_turn)
    reason = "in the summary" if summary.text else "older than the context holds, and no room for a summary"
    newly = fitted.summarised[len(wanted.summarised) :]
    return (Dropped(turns, reason, wanted.summarised_tokens + sum(map(turn_tokens, newly))),)


def turn_tokens(turn: Turn) -> int:
    """Return what a turn took when it was asked, as its receipt has it; an estimate where there is none."""
    answer = turn.answer
    said = answer.text if answer else ""
    if answer and answer.receipt:
        read = {section.name: section.tokens for section in answer.receipt.sections}
        written = _written_tokens(answer) or round(len(said) / CHARACTERS_PER_TOKEN)
        return read.get("sources", 0) + read.get("question", 0) + written
    texts = (turn.question, said, *map(render_source, turn.sources))
    return round(sum(map(len, texts)) / CHARACTERS_PER_TOKEN)


async def _sections(
    counts: Counts, fitted: ConversationText, messages: Sequence[Message], *, total: int
) -> tuple[ReceiptSection, ...]:
    """Return what each part takes; the format's own tokens are the rest of the exact total."""
    system, *spoken = [await counts.message(message) for message in messages]
    primer = min(system, await counts.text(fitted.primer))
    summary = await counts.text(summary_text(fitted))
    asked = await counts.text(new_turn_text(fitted))
    earlier = {source.number for turn in fitted.kept for source in turn.sources}
    new = [source for source in fitted.sources if source.number not in earlier]
    sources = min(asked, await counts.text("\n\n".join(map(render_source, new))))
    parts = {
        "system": system - primer,
        "primer": primer,
        "summary": summary,
        "history": max(0, sum(spoken) - summary - asked),
        "sources": sources,
        "question": asked - sources,
    }
    sections = [ReceiptSection(name, tokens) for name, tokens in parts.items()]
    return (*sections, ReceiptSection("format", total - sum(parts.values())))
