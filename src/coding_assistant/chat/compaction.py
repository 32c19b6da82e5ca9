"""What stays of a conversation that has outgrown the context, and what is said of the rest.

Compacted once to a low-water mark, not a little at every turn: each cut makes the engine read everything
behind it again. The turns cut off live on in a summary, made here by rule; a model's is asked for in idle
time (``chat/summaries.py``).
"""

import re
from collections.abc import Awaitable, Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final, TypeAlias

from coding_assistant.chat import facts
from coding_assistant.domain import Summary, SummaryOrigin, Turn

LOW_WATER: Final = 0.5
"""The share of a conversation's room that is taken after compaction: half makes the next one rare."""

SUMMARY_SHARE: Final = 0.1
LEAST_SUMMARY_TOKENS: Final = 150
MOST_SUMMARY_TOKENS: Final = 600
"""A summary takes a tenth of the context, within these bounds."""

LONGEST_QUESTION_CHARACTERS: Final = 120
MOST_NAMES: Final = 6
MOST_LOCATIONS: Final = 2
"""In a summary, of each turn."""

MOST_DETAILS: Final = 4
"""A sentence with more names than this is a list, and no better to keep than one with four."""

JOINT_TOKENS: Final = 2
"""For what separates a piece of a summary from the one before."""

USER_SAID: Final = "The user said: "

BEGINNING: Final = re.compile(rf"{USER_SAID}|Turn \d+(?:: |$)")
"""How the rule's own lines begin."""

CountTokens: TypeAlias = Callable[[str], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class TurnCost:
    """The tokens of a turn; ``sources`` by number, each to be paid only where first shown."""

    question: int
    answer: int = 0
    sources: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        """What the turn takes when all its sources are shown in it."""
        return self.question + self.answer + sum(tokens for _, tokens in self.sources)


def summary_limit(context_tokens: int) -> int:
    """Return the most tokens that a summary may take in a context of that length."""
    return int(min(max(context_tokens * SUMMARY_SHARE, LEAST_SUMMARY_TOKENS), MOST_SUMMARY_TOKENS))


def window_tokens(costs: Sequence[TurnCost]) -> int:
    """Return the tokens of successive turns, with each source once."""
    sources = dict(pair for cost in costs for pair in cost.sources)
    return sum(cost.question + cost.answer for cost in costs) + sum(sources.values())


def first_kept(past: Sequence[TurnCost], *, new: TurnCost | None, summary: int, room: int) -> int:
    """Return the index of the first turn that stays when the conversation is compacted.

    As many of the last turns stay as leave half of the room free, the last one in any case if it fits at all.
    ``summary`` is what the summary takes of the room, ``new`` the turn to come, if it is known.
    """
    newest = [] if new is None else [new]
    start = 0
    while start < len(past) and summary + window_tokens([*past[start:], *newest]) > room * LOW_WATER:
        start += 1
    if start == len(past) > 0 and summary + window_tokens([past[-1], *newest]) <= room:
        start -= 1
    return start


def render_summary(summary: Summary) -> str:
    """Return the summary as the model reads it, before the first question that is kept."""
    return f"What was said before ({numbered_turns(1, summary.last_turn)}):\n{summary.text}"


def numbered_turns(first: int, last: int) -> str:
    """Return how the turns are named: "turn 3", "turns 1 to 6"."""
    return f"turn {last}" if first == last else f"turns {first} to {last}"


class Kind(IntEnum):
    """What a piece of a summary is; the lowest are taken first."""

    STATED = 0
    EXCHANGE = 1
    WRITTEN = 2
    BEFORE = 3
    FURTHER = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a summary: a line of its own, or the continuation of the line before.

    ``turn`` is 0 where it is not known, ``place`` orders the pieces of one turn.
    """

    text: str
    kind: Kind
    turn: int = 0
    place: int = 0
    begins_line: bool = True

    @property
    def rank(self) -> tuple[int, int, int]:
        """The order in which pieces are taken: by kind, and the newest turn first."""
        return self.kind, -self.turn, self.place


async def extracted_summary(
    count: CountTokens,
    turns: Sequence[Turn],
    *,
    previous: Summary | None,
    most_tokens: int,
    now: datetime,
) -> Summary:
    """Summarise by rule what was said in the turns, and the summary of what was said before them.

    What the user stated comes first and stands as it was said. Then, the newest turn first, what was asked
    with the names and numbers of the answer and the places that it cites; then what the summary before holds,
    then whole sentences of the answers. Never over ``most_tokens``, the heading included.
    """
    last_turn = turns[-1].number if turns else previous.last_turn if previous else 0
    text = await fitted_text(
        count, extracted_pieces(turns, previous), last_turn=last_turn, most_tokens=most_tokens
    )
    return Summary(last_turn, text, SummaryOrigin.EXTRACT, now)


async def fitted_text(
    count: CountTokens, pieces: Sequence[Piece], *, last_turn: int, most_tokens: int
) -> str:
    """Return the pieces that fit, the most important ones, in the order given.

    ``most_tokens`` is for the whole as it is rendered, with ``last_turn`` in its heading.
    """
    heading = render_summary(Summary(last_turn, "", SummaryOrigin.EXTRACT, datetime.min.replace(tzinfo=UTC)))
    left = most_tokens - await count(heading)
    chosen: list[int] = []
    for index in sorted(range(len(pieces)), key=lambda index: pieces[index].rank):
        if left <= JOINT_TOKENS:
            break
        cost = await count(_line(pieces[index], begins=pieces[index].begins_line)) + JOINT_TOKENS
        if cost <= left:
            chosen.append(index)
            left -= cost
    # A vocabulary may take more for the whole than for its parts.
    while chosen and await count(heading + _joined(pieces, chosen)) > most_tokens:
        chosen.pop()
    return _joined(pieces, chosen)


def extracted_pieces(turns: Sequence[Turn], previous: Summary | None) -> list[Piece]:
    """Return all that a summary by rule may hold, in the order in which it was said."""
    said = _statements(turns)
    before = _pieces_of_summary(previous, but=said) if previous else ()
    return [*before, *_pieces_of_turns(turns, said)]


def _statements(turns: Sequence[Turn]) -> dict[str, int]:
    """Return the facts that the user stated, each with the number of the turn that said it last."""
    return {
        statement.text: turn.number
        for turn in turns
        for statement in facts.statements(turn.question)
        if statement.is_fact
    }


def _lines(summary: Summary) -> Iterator[str]:
    for line in summary.text.splitlines():
        if text := line.strip().removeprefix("- "):
            yield text


def _line(piece: Piece, *, begins: bool) -> str:
    return f"\n- {piece.text}" if begins else f" {piece.text}"


def _joined(pieces: Sequence[Piece], chosen: Collection[int]) -> str:
    """Return the chosen pieces in order; one whose line's beginning was not chosen begins a line itself."""
    text = ""
    open_turn = 0  # whose line can be continued
    for index in sorted(chosen):
        piece = pieces[index]
        text += _line(piece, begins=piece.begins_line or piece.turn != open_turn)
        if piece.kind is Kind.EXCHANGE or not piece.begins_line:
            open_turn = piece.turn
    return text.strip()


def _pieces_of_summary(summary: Summary, *, but: Container[str]) -> Iterator[Piece]:
    for number, line in enumerate(_lines(summary)):
        if not line.startswith(USER_SAID):
            # The parts of a line that the rule wrote belong together; a model's paragraph is cut up.
            parts = [line] if BEGINNING.match(line) else list(facts.sentences(line)) or [line]
            for part in parts:
                yield Piece(part, Kind.BEFORE, place=-number)
        elif line.removeprefix(USER_SAID) not in but:
            yield Piece(line, Kind.STATED, place=-number)


def _pieces_of_turns(turns: Sequence[Turn], said: Mapping[str, int]) -> Iterator[Piece]:
    for turn in turns:
        stated = facts.statements(turn.question)
        for statement in stated:
            line = f"{USER_SAID}{statement.text}"
            if not statement.is_fact:
                yield Piece(line, Kind.FURTHER, turn.number)
            elif said[statement.text] == turn.number:
                yield Piece(line, Kind.STATED, turn.number)
        yield from _pieces_of_exchange(turn, known=frozenset(each.text for each in stated))


def _pieces_of_exchange(turn: Turn, *, known: Container[str]) -> Iterator[Piece]:
    """Yield what was asked with names of the answer and the places that it cites, then the answer's facts.

    Names take a third of their sentence's tokens: so all turns are told of before one is told of in full.
    """
    question = " ".join(facts.asked(turn.question).split())
    head = "" if question in known else facts.shortened(question, LONGEST_QUESTION_CHARACTERS)
    found = facts.fact_sentences(turn.answer.text) if turn.answer else []
    named = dict.fromkeys(name for sentence in found for name in facts.details(sentence))
    names = ", ".join([name for name in named if not facts.stands_in(name, question)][:MOST_NAMES])
    told = " ".join(filter(None, (head, f"{names}." if names else "", _locations(turn))))
    yield Piece(f"Turn {turn.number}: {told}" if told else f"Turn {turn.number}", Kind.EXCHANGE, turn.number)
    best_first = sorted(found, key=lambda sentence: -min(len(facts.details(sentence)), MOST_DETAILS))
    for sentence in found:
        yield Piece(sentence, Kind.FURTHER, turn.number, best_first.index(sentence), begins_line=False)


def _locations(turn: Turn) -> str:
    citations = turn.answer.citations if turn.answer else ()
    places = dict.fromkeys(citation.location for citation in citations)
    return f"({', '.join(list(places)[:MOST_LOCATIONS])})" if places else ""
