"""How the contract's answers, citations, receipts and hits are written in a terminal.

Every function returns spans or lines and writes nothing, so that ``ask``, ``chat`` and ``conversations``
say the same thing in the same words.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from coding_assistant.cli.prose import Prose
from coding_assistant.cli.screen import Screen, Span
from coding_assistant.contract import (
    CitationView,
    HitView,
    MessageView,
    ModelView,
    QueryResponse,
    ReceiptView,
    SourceView,
    TimingsView,
    VainSearchView,
)
from coding_assistant.data_directory import Holder
from coding_assistant.domain import CitationState, Finish, SourceOrigin
from coding_assistant.inference.memory import size_in_words

SHORT_ID = 8
"""Hexadecimal digits of an id that are shown: enough to be unique among a person's conversations."""

Line = list[Span]

_STATES: Mapping[CitationState, tuple[str, str, str, str]] = MappingProxyType(
    {
        CitationState.VERIFIED: ("✓", "+", "verified", "green"),
        CitationState.MOVED: ("↪", ">", "moved, these are today's lines", "yellow"),
        CitationState.CHANGED: ("~", "~", "changed since it was read", "yellow"),
        CitationState.GONE: ("✗", "x", "gone", "red"),
        CitationState.GIVEN: ("·", "-", "given with the question", "dim"),
    }
)
_ORIGINS: Mapping[SourceOrigin, str] = MappingProxyType(
    {SourceOrigin.ATTACHED: "attached", SourceOrigin.GIVEN: "given with the question"}
)
_ENDINGS: Mapping[Finish, str] = MappingProxyType(
    {
        Finish.LENGTH: "The answer reached its longest length; --max-tokens allows more.",
        Finish.CANCELLED: "Stopped by you; what was written is kept.",
        Finish.FAILED: "The answer failed; what was written is kept.",
        Finish.INTERRUPTED: "The program ended in the middle of this answer; what was written is kept.",
    }
)
_ENDINGS_WITHOUT_WORDS: Mapping[Finish, str] = MappingProxyType(
    {
        Finish.CANCELLED: "Stopped by you before the first word; the question is kept.",
        Finish.FAILED: "The answer failed before its first word; the question is kept.",
        Finish.INTERRUPTED: "The program ended before the first word of this answer; the question is kept.",
    }
)


def count(number: int, noun: str) -> str:
    """Return ``1 file`` or ``1,234 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration as a person says it: ``0.4 s``, ``12 s``, ``3 min 20 s``."""
    if seconds < 10:  # noqa: PLR2004  -- below ten the tenths matter
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def holder_in_words(holder: Holder) -> str:
    """Return who has the data directory: a command of ours, or whoever could not be made out."""
    return holder.purpose if holder.pid is None else f"`{holder.purpose}` (process {holder.pid})"


def place(root: Path | None, path: str, start_line: int, end_line: int) -> Span:
    """Return ``path:start-end``, a link to the file.

    The path is relative to the working directory when that lies inside the project or around it, so that
    a terminal or an editor that looks for ``path:line`` finds it; otherwise it is absolute.
    """
    if root is None:
        return Span(f"{path}:{start_line}-{end_line}", "cyan")
    here, file = Path.cwd(), root / path
    near = here.is_relative_to(root) or root.is_relative_to(here)
    shown = os.path.relpath(file, here) if near else str(file)
    return Span(f"{shown}:{start_line}-{end_line}", "cyan", link=file)


def source_line(root: Path | None, source: SourceView) -> Line:
    """Return one source: its number, place and symbol."""
    given = source.origin is SourceOrigin.GIVEN
    where = place(None if given else root, source.path, source.start_line, source.end_line)
    note = source.symbol if source.origin is SourceOrigin.FOUND else _ORIGINS[source.origin]
    return [Span(f"  [{source.number}] "), where, *([Span(f"  {note}", "dim")] if note else [])]


def source_text(source: SourceView) -> Iterator[Line]:
    """Yield the source's code with its line numbers."""
    digits = len(str(source.end_line))
    for number, text in enumerate(source.text.split("\n"), start=source.start_line):
        yield [Span(f"{number:>{digits}}  ", "dim"), Span(text)]


def citation_lines(
    screen: Screen, root: Path | None, citations: Sequence[CitationView], unknown: Sequence[int] = ()
) -> Iterator[Line]:
    """Yield the citations under their heading, and the numbers that the model made up."""
    if not citations and not unknown:
        yield [Span("No citations: nothing in the answer tells which of the sources it rests on.", "yellow")]
        return
    yield [Span("Citations", "bold")]
    for citation in citations:
        beautiful, ascii_only, words, style = _STATES[citation.state]
        given = citation.state is CitationState.GIVEN
        where = place(None if given else root, citation.path, citation.start_line, citation.end_line)
        symbol = [Span(f"  {citation.symbol}", "dim")] if citation.symbol else []
        how = ", inferred" if citation.inferred else ""
        state = Span(f"  {screen.glyph(beautiful, ascii_only)} {words}{how}", style)
        yield [Span(f"  [{citation.number}] "), where, *symbol, state]
    for number in unknown:
        yield [Span(f"  [{number}] "), Span(f"{screen.glyph('✗', 'x')} no such source", "red")]


def unverified_lines(names: Sequence[str]) -> Iterator[Line]:
    """Yield the line that warns of names which may be made up."""
    if names:
        named = ", ".join(f"`{name}`" for name in names)
        yield [Span(f"Not in the project: {named}", "yellow")]


def vain_search_lines(root: Path | None, searched: VainSearchView | None) -> Iterator[Line]:
    """Yield what was searched in vain, and the nearest that is there."""
    if searched is None:
        return
    yield [Span(f"Searched {count(searched.files, 'file')} for: {', '.join(searched.words)}", "yellow")]
    if searched.nearest:
        yield [Span("Nearest in the project", "bold")]
    for each in searched.nearest:
        where = place(root, each.path, each.line, each.line)
        yield [Span(f"  {each.name}  "), where]


def ending(finish: Finish | None, *, text: str) -> str:
    """Return what is to say about how an answer with that text ended; nothing when it is complete."""
    if finish is None:
        return ""
    if not text.strip() and finish in _ENDINGS_WITHOUT_WORDS:
        return _ENDINGS_WITHOUT_WORDS[finish]
    return _ENDINGS.get(finish, "")


def receipt_line(response: QueryResponse) -> Line:
    """Return the receipt in a line: what was read, what it took."""
    parts = [response.model]
    if response.receipt is not None:
        parts.append(f"read {response.receipt.used:,} tokens{_split(response.receipt)}")
    parts.extend(_timing_parts(response.timings))
    return [Span(" · ".join(parts), "dim")]


def _split(receipt: ReceiptView) -> str:
    """Return how much of the prompt was cached; nothing for an answer stopped before the engine told."""
    if not receipt.cached and not receipt.new:
        return ""
    return f", {receipt.cached:,} cached"


def _timing_parts(timings: TimingsView) -> Iterator[str]:
    if timings.first_token:
        yield f"first token {duration(timings.first_token)}"
    yield f"total {duration(timings.total)}"
    if timings.writing and timings.written_tokens:
        yield f"{timings.written_tokens / timings.writing:.0f} tokens/s"


def memory_note(model: ModelView) -> str:
    """Return whether a model is in memory, and how much of it it takes."""
    if model.loading:
        return "is being loaded"
    if not model.loaded:
        return ""
    return f"loaded, {size_in_words(model.memory_bytes)}" if model.memory_bytes else "loaded"


def cold_lines(receipt: ReceiptView) -> Iterator[Line]:
    """Yield why the conversation had to be read again, if it had."""
    if receipt.cold:
        yield [Span(f"read from its beginning: {receipt.cold}", "dim")]


def search_lines(receipt: ReceiptView) -> Iterator[Line]:
    """Yield how far a deep search went, if one was asked for."""
    if receipt.search:
        yield [Span(f"searched deeper: {receipt.search}", "dim")]


def dropped_lines(receipt: ReceiptView) -> Iterator[Line]:
    """Yield what was left out of the prompt: one line each, for nothing is cut silently."""
    for part in receipt.dropped:
        yield [Span(f"left out: {part.what} ({count(part.tokens, 'token')}), {part.reason}", "dim")]


def receipt_lines(receipt: ReceiptView) -> Iterator[Line]:
    """Yield the whole receipt."""
    yield [Span("Receipt", "bold")]
    yield [Span(f"  context {receipt.limit:,} tokens, {receipt.reserved:,} of them kept for the answer")]
    for section in receipt.sections:
        if section.tokens:
            yield [Span(f"  {section.tokens:>7,}  {section.name}")]
    yield [Span(f"  {receipt.used:>7,}  in all{_split(receipt)}")]
    if receipt.freshness:
        yield [Span(f"  index: {receipt.freshness}")]
    for line in search_lines(receipt):
        yield [Span("  "), *line]
    for line in cold_lines(receipt):
        yield [Span("  "), *line]
    for line in dropped_lines(receipt):
        yield [Span("  "), *line]


def timing_line(timings: TimingsView) -> Line:
    """Return where the time went."""
    phases = ("searching", "loading", "reading", "writing")
    spent = [f"{phase} {duration(getattr(timings, phase))}" for phase in phases if getattr(timings, phase)]
    return [Span(f"  time: {', '.join([*spent, f'total {duration(timings.total)}'])}")]


_SHOWN_WHOLE_LINES = 8


def hit_lines(root: Path, hit: HitView, *, preview_lines: int) -> Iterator[Line]:
    """Yield a search result: its place, then how its text begins."""
    symbol = [Span(f"  {hit.symbol}", "bold")] if hit.symbol else []
    yield [place(root, hit.path, hit.start_line, hit.end_line), *symbol]
    lines = hit.text.split("\n")
    # What was narrowed to the lines that matter is shown whole: the call of a caller may be in the middle.
    shown = len(lines) if len(lines) <= _SHOWN_WHOLE_LINES else preview_lines
    for text in lines[:shown]:
        yield [Span(f"    {text}", "dim")]
    if len(lines) > shown:
        yield [Span(f"    … {count(len(lines) - shown, 'more line')}", "dim")]


def written(screen: Screen, text: str) -> Line:
    """Return a whole text as it is written while it comes: wrapped and coloured for a person, else plain."""
    if not screen.is_terminal:
        return [Span(text)]
    prose = Prose(screen.width)
    return [*prose.feed(text), *prose.finish()]


def message_lines(screen: Screen, root: Path | None, message: MessageView) -> Iterator[Line]:
    """Yield one message of a conversation; an answer with its citations."""
    is_answer = message.role == "assistant"
    who = message.model or "assistant" if is_answer else "you"
    when = message.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
    yield [Span(who, "bold green" if is_answer else "bold cyan"), Span(f"  {when}", "dim")]
    yield written(screen, message.content)
    note = ending(message.finish_reason, text=message.content)
    if note:
        yield [Span(f"{note} {message.failure}".rstrip(), "yellow")]
    yield from unverified_lines(message.unverified_names)
    yield from vain_search_lines(root, message.searched)
    if message.citations or message.unknown_citations:
        yield [Span("")]
        yield from citation_lines(screen, root, message.citations, message.unknown_citations)
