"""Summaries that the model writes while nobody asks: when one is due, how it is asked for, and checked.

A small model drops facts and invents some. So what it wrote is checked against what was said, and what the
rule of ``chat/compaction.py`` would keep and the model has dropped is put beside it.
"""

import re
from collections.abc import Sequence
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
from coding_assistant.chat.sources import render_source
from coding_assistant.domain import Message, Summary, SummaryOrigin, Turn
from coding_assistant.protocols import Engine

WORDS_PER_TOKEN: Final = 0.4
"""The words that a model is asked for, for each token that a summary may take. Names take several tokens,
and a part is left for what the model drops."""

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

    Sentences with names or numbers that nobody said are left out. What the user stated and the answers' best
    facts are added where the model dropped them. If nothing of the reply is left, it is a summary by rule.
    """
    counts = Counts(engine, "")
    most_tokens = summary_limit(budget.limit)
    previous = conversation.summary
    true = _true_sentences(written, turns, previous)
    if not true:
        return await extracted_summary(
            counts.text, turns, previous=previous, most_tokens=most_tokens, now=now
        )
    extracted = extracted_pieces(turns, previous)
    lost = [piece for piece in extracted if _is_lost(piece, true)]
    pieces = [*(Piece(text, Kind.WRITTEN, place=place) for place, text in enumerate(true)), *lost]
    last_turn = turns[-1].number
    text = await fitted_text(counts.text, pieces, last_turn=last_turn, most_tokens=most_tokens)
    return Summary(last_turn, text, SummaryOrigin.MODEL, now)


def _true_sentences(written: str, turns: Sequence[Turn], previous: Summary | None) -> list[str]:
    """Return the sentences of a reply, each once, whose names and numbers all stand in what was said."""
    said = [previous.text] if previous else []
    for turn in turns:
        said += [turn.question, turn.answer.text if turn.answer else ""]
        said += map(render_source, turn.sources)
    everything = "\n".join(said).lower()
    found = dict.fromkeys(facts.sentences(_INTRODUCTION.sub("", written.strip())))
    return [
        sentence
        for sentence in found
        if all(detail.lower() in everything for detail in facts.details(sentence))
    ]


def _is_lost(piece: Piece, written: Sequence[str]) -> bool:
    """Return whether the sentences written lack a name or a number of this piece.

    What the user stated has to stand in a single one: its words belong together.
    """
    details = facts.details(BEGINNING.sub("", piece.text))
    texts = written if piece.kind is Kind.STATED else ["\n".join(written)]
    return not details or not any(all(detail in text for detail in details) for text in texts)
