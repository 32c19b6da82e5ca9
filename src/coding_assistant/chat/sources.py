"""What was found, as numbered sources: which of it a turn gets, and how the model reads it.

A number holds for the whole conversation. Nothing of turns, budgets of the prompt or engines is known here
but what ``number_sources`` is told.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from operator import attrgetter, itemgetter
from types import MappingProxyType

from coding_assistant.domain import Chunk, ChunkKind, ContextLine, Hit, Source, SourceOrigin

CHARACTERS_PER_TOKEN = 3.0
"""For what must be known before the model is loaded. Numbered code lies between 2.6 and 3.4 characters a
token in the catalog's vocabularies; the exact count follows once the engine can tokenise."""

_ORIGINS: Mapping[SourceOrigin, str] = MappingProxyType(
    {SourceOrigin.ATTACHED: "attached to the question", SourceOrigin.GIVEN: "given with the question"}
)
"""What the model is told of a source that "this" in the question may mean."""

MOST_BLANK_LINES = 2
"""Between two cells of a notebook, more blank lines than this are shown as an ellipsis."""


@dataclass(frozen=True, slots=True)
class ShownBefore:
    """The sources of a conversation that a question may show again.

    Those ``in_prompt`` are there to be read; those ``summarised`` were, in turns that a summary stands for.
    ``highest`` is the highest number that a source of the summarised turns has had.
    """

    in_prompt: tuple[Source, ...] = ()
    summarised: tuple[Source, ...] = ()
    highest: int = 0

    @property
    def by_number(self) -> dict[int, Source]:
        """All of them, the oldest number first, each as it was shown last."""
        last_shown = {source.number: source for source in (*self.summarised, *self.in_prompt)}
        return dict(sorted(last_shown.items()))


def number_sources(
    hits: Sequence[Hit],
    before: ShownBefore,
    *,
    token_budget: int,
    read: Sequence[Chunk] = (),
    attached: Sequence[Chunk] = (),
) -> tuple[Source, ...]:
    """Give what was found its numbers in this conversation, best first, as far as the budget reaches.

    Lines that stand in the conversation as they are keep their source's number and cost nothing, unless only
    summarised turns showed them: then the source has to be sent once more. Hits that lie side by side become
    one source. At least the best hit is taken, so that a question is never answered from nothing for want of
    room.

    What the model has ``read`` ahead of the question comes first, in that order, up to the first of it that
    was not found. Before it is numbered what is ``attached`` to the question, whatever it costs.
    """
    earlier = before.by_number
    shown = {source.number for source in before.in_prompt}
    known = _attached_again(attached, earlier)
    with_question = [chunk for chunk in attached if chunk not in {each.chunk for each in known.values()}]
    chosen: list[Chunk] = []
    left = float(token_budget)
    for hit in hits:
        same = [source for source in earlier.values() if _shows(source.chunk, hit.chunk)]
        if there := next((source for source in same if source.number in shown | known.keys()), None):
            known.setdefault(there.number, there)
            continue
        again = next((source for source in same if estimated_tokens(source.chunk) <= left), None)
        cost = estimated_tokens(again.chunk if again else hit.chunk)
        if again:
            known[again.number] = again
        elif cost <= left or not (known or chosen or attached):
            chosen.append(hit.chunk)
        else:
            continue
        left -= cost
    first_number = max(before.highest, *earlier, 0) + 1
    new = [
        Source(number, chunk, chunk.digest)
        for number, chunk in enumerate(
            (*with_question, *_as_read(_side_by_side_joined(chosen), read)), start=first_number
        )
    ]
    # By number, as they come back from the store: the turn is written down the same way each time.
    return (*sorted(known.values(), key=attrgetter("number")), *new)


def _attached_again(attached: Sequence[Chunk], earlier: Mapping[int, Source]) -> dict[int, Source]:
    """Return the sources of earlier turns that were attached to them, and are to this one."""
    return {number: source for number, source in earlier.items() if source.chunk in attached}


def _as_read(chunks: Sequence[Chunk], read: Sequence[Chunk]) -> list[Chunk]:
    first = list(takewhile(lambda chunk: chunk in chunks, read))
    return [*first, *(chunk for chunk in chunks if chunk not in first)]


def estimated_tokens(chunk: Chunk) -> float:
    """Return about how many tokens the chunk takes as a source."""
    return len(render_source(Source(0, chunk, chunk.digest))) / CHARACTERS_PER_TOKEN


def render_source(source: Source) -> str:
    """Return the source as the model reads it: number, place, symbol, and each line with its number.

    Its context stands around it, with an ellipsis in the place of what is left out.
    """
    chunk = source.chunk
    note = _ORIGINS.get(source.origin, chunk.symbol)
    title = f"[{source.number}] {chunk.location}" + (f" ({note})" if note else "")
    return "\n".join((one_line(title), *numbered_lines(_lines_to_read(chunk))))


def one_line(text: str) -> str:
    """Return the text on one line: a file's name may hold a line break, which must not begin a new one."""
    return "".join(character if character.isprintable() else " " for character in text)


def numbered_lines(lines: Iterable[ContextLine]) -> Iterator[str]:
    """Yield each line behind its number, and an ellipsis for every gap."""
    last: int | None = None
    for line in lines:
        if last is not None and line.line > last + 1:
            yield "…"
        yield f"{line.line}: {line.text}"
        last = line.line


def _lines_to_read(chunk: Chunk) -> list[ContextLine]:
    """Return the chunk's lines and its context in the order of the file.

    Carriage returns are left out: within a line they would make what follows look like a line of its own.
    So are the blank lines between the cells of a notebook, which stand for its outputs.
    """
    texts = chunk.text.split("\n")
    own = [ContextLine(number, text) for number, text in enumerate(texts, start=chunk.start_line)]
    if chunk.kind in {ChunkKind.CELL, ChunkKind.ATTACHED}:  # what is attached may be of a notebook
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
