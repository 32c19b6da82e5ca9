"""From a conversation and what was found to the tokens that the model reads.

The prompt only grows at its end: the system part never changes, a turn is rendered the same way each
time, and a source is shown in full once, in the turn that found it. So the engine's cache holds all but
the new turn. When the context is full, the oldest turns go at once until half is free, not a little at
every turn, for each cut makes the engine read everything behind it again.

This module knows nothing of storage or of how code is searched.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from operator import attrgetter, itemgetter

from coding_assistant.domain import (
    Chunk,
    ChunkKind,
    ContextLine,
    Dropped,
    Hit,
    Message,
    Receipt,
    ReceiptSection,
    Role,
    Source,
    Turn,
)
from coding_assistant.errors import QuestionTooLong
from coding_assistant.protocols import Engine

SYSTEM_PROMPT = (
    "You answer questions about the code of one project. Numbered sources from it stand before the"
    " questions; every line of a source begins with its line number in the file. Answer from the sources"
    " alone, in full sentences, and put the number of the source that a sentence rests on at its end, like"
    " this [1]. Name functions, values and files exactly. If the sources do not hold the answer, say so."
)
"""Tried on Qwen2.5-Coder 1.5B, temperature 0. "Write the number of the source behind each fact" got answers
that were a bare number, 3 of 6; an example with words in it was copied in place of an answer."""

LOW_WATER = 0.5
"""The share of the budget that turns keep when the context overflows: half makes the next cut rare."""

CHARACTERS_PER_TOKEN = 3.0
"""For choosing sources before the model is loaded. Numbered code lies between 2.6 and 3.4 characters a
token in the catalog's vocabularies; the exact count follows once the engine can tokenise."""

MESSAGE_OVERHEAD_TOKENS = 16
"""At most this many tokens surround one message in any of the formats; Llama 2 with its system part is
the longest."""

MOST_BLANK_LINES = 2
"""Between two cells of a notebook, more blank lines than this are shown as an ellipsis."""

SOURCE_OVERHEAD_TOKENS = 4
"""For the blank line after a source, and for tokens that a joint splits."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The tokens that there are: the model's context, less what the reply may take."""

    limit: int
    reserved: int

    @property
    def prompt(self) -> int:
        """What the prompt may take."""
        return self.limit - self.reserved


@dataclass(frozen=True, slots=True)
class ComposedPrompt:
    """The tokens to read, the new turn's sources, and the receipt for both.

    ``shown`` are all sources in the prompt, those of the turns before among them: what can be cited.
    """

    tokens: tuple[int, ...]
    sources: tuple[Source, ...]
    shown: tuple[Source, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class TurnCost:
    """The tokens of a past turn; ``sources`` by number, each to be paid only where first shown."""

    question: int
    answer: int
    sources: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        """What the turn takes when all its sources are shown in it."""
        return self.question + self.answer + sum(tokens for _, tokens in self.sources)


def system_text(project_name: str, *, instructions: str = "") -> str:
    """Return the system message: the model's own instructions, if it has any, and the project's name."""
    return f"{instructions or SYSTEM_PROMPT}\nThe project is called {project_name}."


def render_source(source: Source) -> str:
    """Return the source as the model reads it: number, place, symbol, and each line with its number.

    Its context stands around it, with an ellipsis in the place of what is left out.
    """
    chunk = source.chunk
    title = f"[{source.number}] {chunk.location}" + (f" ({chunk.symbol})" if chunk.symbol else "")
    return "\n".join((title, *_numbered(_lines_to_read(chunk))))


def _lines_to_read(chunk: Chunk) -> list[ContextLine]:
    """Return the chunk's lines and its context in the order of the file.

    Carriage returns are left out: within a line they would make what follows look like a line of its own.
    So are the blank lines between the cells of a notebook, which stand for its outputs.
    """
    texts = chunk.text.split("\n")
    own = [ContextLine(number, text) for number, text in enumerate(texts, start=chunk.start_line)]
    if chunk.kind is ChunkKind.CELL:
        own = _without_long_gaps(own)
    lines = sorted((*chunk.context, *own), key=attrgetter("line"))
    return [ContextLine(line.line, line.text.replace("\r", "")) for line in lines]


def _without_long_gaps(lines: Iterable[ContextLine]) -> list[ContextLine]:
    kept: list[ContextLine] = []
    for is_blank, group in groupby(lines, key=lambda line: not line.text.strip()):
        run = list(group)
        if not is_blank or len(run) <= MOST_BLANK_LINES:
            kept += run
    return kept


def _numbered(lines: Iterable[ContextLine]) -> Iterator[str]:
    last: int | None = None
    for line in lines:
        if last is not None and line.line > last + 1:
            yield "…"
        yield f"{line.line}: {line.text}"
        last = line.line


def render_question(question: str, sources: Sequence[Source], *, shown: frozenset[int]) -> str:
    """Return a turn's user message: sources not yet shown in full, the others by number, the question."""
    parts = [render_source(source) for source in sources if source.number not in shown]
    again = [f"[{source.number}]" for source in sources if source.number in shown]
    if again:
        parts.append(f"See also {', '.join(again)} above.")
    return "\n\n".join((*parts, f"Question: {question}"))


def render_conversation(
    system: str, past: Iterable[Turn], question: str, sources: Sequence[Source]
) -> tuple[Message, ...]:
    """Return the messages of the conversation up to the new question."""
    messages = [Message(Role.SYSTEM, system)]
    shown: frozenset[int] = frozenset()
    for turn in past:
        messages.append(Message(Role.USER, render_question(turn.question, turn.sources, shown=shown)))
        messages.append(Message(Role.ASSISTANT, turn.answer.text if turn.answer else ""))
        shown |= {source.number for source in turn.sources}
    messages.append(Message(Role.USER, render_question(question, sources, shown=shown)))
    return tuple(messages)


def number_sources(hits: Sequence[Hit], past: Sequence[Turn], *, token_budget: int) -> tuple[Source, ...]:
    """Give what was found its numbers in this conversation, best first, as far as the budget reaches.

    Lines that stand in the conversation as they are keep their source's number and cost nothing. Hits that
    lie side by side become one source. At least the best hit is taken, so that a question is never answered
    from nothing for want of room.
    """
    earlier = {source.number: source for turn in past for source in turn.sources}
    known: dict[int, Source] = {}
    chosen: list[Chunk] = []
    spent = 0.0
    for hit in hits:
        if shown := next((source for source in earlier.values() if _shows(source.chunk, hit.chunk)), None):
            known.setdefault(shown.number, shown)
            continue
        cost = len(render_source(Source(0, hit.chunk, hit.chunk.digest))) / CHARACTERS_PER_TOKEN
        if not (known or chosen) or spent + cost <= token_budget:
            chosen.append(hit.chunk)
            spent += cost
    first_number = max(earlier, default=0) + 1
    new = [
        Source(number, chunk, chunk.digest)
        for number, chunk in enumerate(_side_by_side_joined(chosen), start=first_number)
    ]
    return (*known.values(), *new)


def _shows(chunk: Chunk, other: Chunk) -> bool:
    """Return whether all lines of the other stand in the chunk, as they are."""
    if chunk.path != other.path or other.start_line < chunk.start_line or other.end_line > chunk.end_line:
        return False
    return chunk.part(other.start_line, other.end_line).text.rstrip() == other.text.rstrip()


def _side_by_side_joined(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return the chunks with neighbours in a file made one, each where the best of its parts stood."""
    rank = {chunk.location: position for position, chunk in enumerate(chunks)}
    joined: list[tuple[int, Chunk]] = []
    for chunk in sorted(chunks, key=lambda chunk: (chunk.path, chunk.start_line)):
        position = rank[chunk.location]
        above_position, above = joined[-1] if joined else (0, None)
        if above is not None and above.path == chunk.path and above.end_line + 1 == chunk.start_line:
            joined[-1] = min(above_position, position), _joined(above, chunk)
        else:
            joined.append((position, chunk))
    return [_without_blank_end(chunk) for _, chunk in sorted(joined, key=itemgetter(0))]


def _joined(above: Chunk, below: Chunk) -> Chunk:
    return replace(
        above,
        context=tuple(line for line in above.context if line.line < above.start_line),
        end_line=below.end_line,
        text=f"{above.text}\n{below.text}",
        symbol=above.symbol if above.symbol == below.symbol else None,
        kind=above.kind if above.kind is below.kind else ChunkKind.LINES,
    )


def _without_blank_end(chunk: Chunk) -> Chunk:
    lines = chunk.text.split("\n")
    blank = sum(1 for _ in takewhile(lambda line: not line.strip(), reversed(lines)))
    if not blank or blank == len(lines):
        return chunk
    return replace(chunk, end_line=chunk.end_line - blank, text="\n".join(lines[:-blank]))


def first_kept_turn(costs: Sequence[TurnCost], *, front: int, budget: int) -> int:
    """Return the index of the first turn that stays in the prompt; the last cost is the new turn's.

    The past is played through from its first turn, so the same conversation is always cut at the same
    places, and between two cuts the prompt's beginning stays as it is. What is kept fits into the
    budget whenever the new turn alone does.
    """
    start = 0
    for newest in range(len(costs)):
        if front + _window_tokens(costs, start, newest) <= budget:
            continue
        while start < newest and front + _window_tokens(costs, start, newest) > budget * LOW_WATER:
            start += 1
    return start


def _window_tokens(costs: Sequence[TurnCost], start: int, newest: int) -> int:
    """Return the tokens of the turns from ``start`` on, with the newest one's answer still unwritten."""
    window = costs[start : newest + 1]
    sources = dict(pair for cost in window for pair in cost.sources)
    spoken = sum(cost.question + cost.answer for cost in window)
    return spoken - costs[newest].answer + sum(sources.values())


async def compose(
    engine: Engine,
    *,
    system: str,
    past: Sequence[Turn],
    question: str,
    sources: tuple[Source, ...],
    budget: Budget,
) -> ComposedPrompt:
    """Return the prompt for a question, within the budget to the token.

    Sources that do not fit go first, from the least good, then the oldest turns; each is on the receipt.
    Raises ``QuestionTooLong`` when the question and the instructions alone are over the budget.
    """
    counts = _Counts(engine)
    front = await counts.text(system) + MESSAGE_OVERHEAD_TOKENS
    asked = await counts.question(question)
    if front + asked > budget.prompt:
        raise question_too_long(asked, front=front, budget=budget)
    answered = [turn for turn in past if turn.answer and turn.answer.text]
    kept_sources, sources_dropped = await _fitting(counts, sources, budget.prompt - front - asked)
    costs = {turn.id: await counts.turn(turn) for turn in answered}
    new_turn = TurnCost(asked, 0, await counts.sources(kept_sources))
    start = first_kept_turn([*costs.values(), new_turn], front=front, budget=budget.prompt)
    kept_turns = answered[start:]
    messages = render_conversation(system, kept_turns, question, kept_sources)
    tokens = await engine.encode(messages)
    shown = {source.number: source for turn in kept_turns for source in turn.sources}
    shown |= {source.number: source for source in kept_sources}
    return ComposedPrompt(
        tokens,
        kept_sources,
        tuple(shown.values()),
        Receipt(
            limit=budget.limit,
            reserved=budget.reserved,
            sections=await _sections(counts, messages, kept_sources, total=len(tokens)),
            dropped=(*_turns_dropped(past, kept_turns, costs), *sources_dropped),
        ),
    )


def question_too_long(question_tokens: int, *, front: int, budget: Budget) -> QuestionTooLong:
    """Return the refusal with its numbers."""
    room = max(0, budget.prompt - front)
    return QuestionTooLong(
        f"The question takes {question_tokens:,} tokens; there is room for {room:,}: the context of"
        f" {budget.limit:,} less {budget.reserved:,} for the reply and {front:,} for the instructions.",
        hint="Shorten the question, ask for a shorter reply, or choose a model with a larger context.",
    )


class _Counts:
    """Token counts of the parts of a prompt; the engine remembers those of earlier turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def text(self, text: str) -> int:
        return len(await self._engine.tokenize(text))

    async def question(self, question: str) -> int:
        return await self.text(render_question(question, (), shown=frozenset())) + MESSAGE_OVERHEAD_TOKENS

    async def source(self, source: Source) -> int:
        return await self.text(render_source(source)) + SOURCE_OVERHEAD_TOKENS

    async def sources(self, sources: Sequence[Source]) -> tuple[tuple[int, int], ...]:
        return tuple([(source.number, await self.source(source)) for source in sources])

    async def turn(self, turn: Turn) -> TurnCost:
        answer = await self.text(turn.answer.text) if turn.answer else 0
        return TurnCost(
            await self.question(turn.question),
            answer + MESSAGE_OVERHEAD_TOKENS,
            await self.sources(turn.sources),
        )


async def _fitting(
    counts: _Counts, sources: Sequence[Source], room: int
) -> tuple[tuple[Source, ...], tuple[Dropped, ...]]:
    kept: list[Source] = []
    dropped: list[Dropped] = []
    for source in sources:
        cost = await counts.source(source)
        if cost <= room:
            kept.append(source)
            room -= cost
        else:
            dropped.append(
                Dropped(f"source {source.chunk.location}", "no room beside question and reply", cost)
            )
    return tuple(kept), tuple(dropped)


def _turns_dropped(
    past: Sequence[Turn], kept: Sequence[Turn], costs: Mapping[str, TurnCost]
) -> tuple[Dropped, ...]:
    kept_ids = {turn.id for turn in kept}
    dropped: list[Dropped] = []
    for turn in past:
        if turn.id in kept_ids:
            continue
        cost = costs.get(turn.id)
        reason = "older than the context holds" if cost else "it has no answer"
        dropped.append(Dropped(f"turn {turn.number}", reason, cost.total if cost else 0))
    return tuple(dropped)


async def _sections(
    counts: _Counts, messages: Sequence[Message], sources: Sequence[Source], *, total: int
) -> tuple[ReceiptSection, ...]:
    """Return what each part takes; the format's own tokens are the rest of the exact total."""
    system = await counts.text(messages[0].text)
    history = sum([await counts.text(message.text) for message in messages[1:-1]])
    new_turn = await counts.text(messages[-1].text)
    shown_now = [source for source in sources if render_source(source) in messages[-1].text]
    source_tokens = min(new_turn, sum([await counts.text(render_source(each)) for each in shown_now]))
    return (
        ReceiptSection("system", system),
        ReceiptSection("history", history),
        ReceiptSection("sources", source_tokens),
        ReceiptSection("question", new_turn - source_tokens),
        ReceiptSection("format", total - system - history - new_turn),
    )
