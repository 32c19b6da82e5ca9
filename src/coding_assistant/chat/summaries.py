"""Summaries that the model writes while nobody asks: when one is due, how it is asked for, and checked.

A small model drops facts and invents some (docs/conversations-log.md). So it adds to what the rule of
``chat/compaction.py`` keeps of every turn, and sentences with names that nobody said are left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from coding_assistant.chat import facts
from coding_assistant.chat.compaction import (
    BEGINNING,
    LONGEST_QUESTION_CHARACTERS,
    Kind,
    Piece,
    extracted_pieces,
    extracted_summary,
    first_kept,
    fitted_text,
    summary_limit,
)
from coding_assistant.chat.receipt import Budget, is_near_full
from coding_assistant.chat.rendering import (
    SOURCE_OVERHEAD_TOKENS,
    ConversationText,
    Counts,
    render_conversation,
)
from coding_assistant.domain import Message, Summary, SummaryOrigin, Turn
from coding_assistant.protocols import Engine

WORDS_PER_TOKEN: Final = 0.2
"""The words that a model is asked for, for each token that a summary may take: a third of it, for names take
several tokens. The rest is for what the rule keeps."""

REQUEST_TOKENS: Final = 200
"""What ``summary_request`` adds to the conversation, at most."""

_INTRODUCTION = re.compile(
    r"^(?:sure|certainly|okay|ok|here(?:'s| is| are)|(?:the )?summary|in summary)\b[^.:\n]*[:.!]\s*",
    re.IGNORECASE,
)


async def turns_to_summarise(
    engine: Engine, conversation: ConversationText, *, budget: Budget, vocabulary: str
) -> tuple[Turn, ...]:
    """Return the turns that a summary should take now, so that no question has to wait for it; often none.

    None either where the context has no room for asking: then the next question brings a summary by rule.
    """
    counts = Counts(engine, vocabulary)
    front = await counts.front(conversation)
    held = len(await engine.encode(render_conversation(conversation, vocabulary=vocabulary)))
    most = budget.limit - summary_limit(budget.limit) - REQUEST_TOKENS
    if not is_near_full(held, front=front, budget=budget) or held > most:
        return ()
    kept = conversation.kept
    start = first_kept(
        [await counts.turn(turn) for turn in kept],
        new=None,
        summary=summary_limit(budget.limit) + SOURCE_OVERHEAD_TOKENS,
        room=budget.prompt - front,
    )
    return kept[:start]


def summary_request(
    conversation: ConversationText, turns: Sequence[Turn], *, budget: Budget, vocabulary: str
) -> tuple[Message, ...]:
    """Return the messages that ask for a summary: the conversation as it stands, and that as its question."""
    words = int(summary_limit(budget.limit) * WORDS_PER_TOKEN)
    last = facts.shortened(" ".join(facts.asked(turns[-1].question).split()), LONGEST_QUESTION_CHARACTERS)
    request = (
        f"Summarise our conversation from its beginning up to your answer to '{last}', in at most {words}"
        " words. Keep names, numbers, paths and decisions exactly, and all that I told you of myself or the"
        " project. Plain sentences, no introduction, no list."
    )
    asked = replace(conversation, question=request, sources=())
    return render_conversation(asked, vocabulary=vocabulary)


async def summary_from(
    engine: Engine,
    written: str,
    conversation: ConversationText,
    turns: Sequence[Turn],
    *,
    budget: Budget,
    now: datetime,
) -> Summary:
    """Return the summary that the model's reply to ``summary_request`` makes, within its bound.

    What the user stated and the line by rule on each turn come first, then the reply's sentences, but those
    with names or numbers that nobody said. If nothing of the reply is left, it is a summary by rule.
    """
    counts = Counts(engine, "")
    most_tokens = summary_limit(budget.limit)
    previous = conversation.summary
    extracted = extracted_pieces(turns, previous)
    stated = [piece.text for piece in extracted if piece.kind is Kind.STATED]
    told = [
        sentence for sentence in _true_sentences(written, turns, previous) if not _is_told(sentence, stated)
    ]
    if not told:
        return await extracted_summary(
            counts.text, turns, previous=previous, most_tokens=most_tokens, now=now
        )
    pieces = [Piece(text, Kind.WRITTEN, place=place) for place, text in enumerate(told)]
    pieces += [piece for piece in extracted if piece.kind < Kind.WRITTEN or not _is_told(piece.text, told)]
    last_turn = turns[-1].number
    text = await fitted_text(counts.text, pieces, last_turn=last_turn, most_tokens=most_tokens)
    return Summary(last_turn, text, SummaryOrigin.MODEL, now)


def _true_sentences(written: str, turns: Sequence[Turn], previous: Summary | None) -> list[str]:
    """Return the sentences of a reply, each once, whose names and numbers were all said, each as a whole.

    One without any cannot be checked, and says little: "Several options were discussed."
    """
    said = "\n".join(_said(turns, previous)).casefold()
    reply = _INTRODUCTION.sub("", facts.without_counts(written).strip())
    return [
        sentence
        for sentence in dict.fromkeys(facts.sentences(reply))
        if (details := facts.details(sentence))
        and all(facts.stands_in(detail.casefold(), said) for detail in details)
    ]


def _said(turns: Sequence[Turn], previous: Summary | None) -> Iterator[str]:
    """Yield what was said and read in the turns, without the numbers of turns, points, sources and lines.

    With them, hardly a small number would be one that nobody said.
    """
    if previous:
        for line in previous.text.splitlines():
            yield BEGINNING.sub("", line.strip().removeprefix("- "))
    for turn in turns:
        yield facts.without_counts(turn.question)
        yield facts.without_counts(turn.answer.text) if turn.answer else ""
        for source in turn.sources:
            chunk = source.chunk
            yield from (str(chunk.path), chunk.symbol or "", chunk.text)
            yield from (line.text for line in chunk.context)


def _is_told(text: str, told: Sequence[str]) -> bool:
    """Return whether a single one of the sentences told has all the names and numbers of the text, if any."""
    details = facts.details(BEGINNING.sub("", text))
    return bool(details) and any(
        all(facts.stands_in(detail, sentence) for detail in details) for sentence in told
    )
