"""Which sources an answer uses, and whether they still say what the model read.

Small models forget to cite: an answer's citations are those it wrote as ``[n]`` and those that its words
give away, for an identifier that stands in one of the sources was read there. Each is narrowed to the
lines that bear it out, and compared with the working tree.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from coding_assistant.domain import Citation, CitationState, Source
from coding_assistant.terms import index_terms, query_terms

MARK = re.compile(r"(?<![\w\])])(?:\[\d{1,4}(?:\s*[,;]\s*\d{1,4})*\])+(?!\()")
"""``[3]``, ``[1, 2]`` and ``[1][2]``, but neither an index as in ``items[3]`` nor a Markdown link."""

CODE_BLOCK = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
CODE_SPAN = re.compile(r"`([^`\n]+)`")
IDENTIFIER = re.compile(r"[^\W\d]\w*|\d{3,}")
"""A name, or a number long enough to be no coincidence: 404, 8080."""

CODE_WORD = re.compile(r"\w*[a-z][A-Z]\w*|\w+_\w+|_\w+|[A-Z]{2,}\w*|\d+")
"""camelCase, CapWords of two words, snake_case, constants, numbers: code even without back quotes."""

MOST_SHARED = 2
"""An identifier that stands in more sources than this tells nothing about which of them was used."""

LEAST_LENGTH = 3

FILE_WORD = re.compile(r"[\w./-]*\w\.\w{1,4}\b")

LEAST_SHARED_WORDS = 3
"""Fewer words in common than this come about by chance."""


@dataclass(frozen=True, slots=True)
class ResolvedAnswer:
    """The answer's text with invented numbers marked, and what it cites."""

    text: str
    citations: tuple[Citation, ...]
    unknown: tuple[int, ...]


def cited_sources(answer: str, sources: Sequence[Source]) -> tuple[Source, ...]:
    """Return the sources that the answer uses, in the order of their numbers."""
    by_number = {source.number: source for source in sources}
    used = {number for number in written_numbers(answer) if number in by_number}
    used |= _attributed(answer, sources) | _named_files(answer, sources)
    if not used:
        used = _closest(answer, sources)
    return tuple(by_number[number] for number in sorted(used))


def resolve(
    answer: str, sources: Sequence[Source], current: Mapping[PurePosixPath, str | None]
) -> ResolvedAnswer:
    """Resolve an answer against the sources shown to the model and today's text of their files.

    ``current`` holds the text of each cited file as the walk reads it now; None or absent: it is gone.
    """
    known = {source.number for source in sources}
    names = frozenset(_names(answer))
    citations = tuple(
        check(narrow(source, names), current.get(source.chunk.path))
        for source in cited_sources(answer, sources)
    )
    unknown = tuple(sorted(set(written_numbers(answer)) - known))
    return ResolvedAnswer(mark_unknown(answer, known), citations, unknown)


def written_numbers(answer: str) -> tuple[int, ...]:
    """Return the numbers that the answer cites in its prose, code left out."""
    return tuple(
        int(number)
        for mark in MARK.finditer(_without_code(answer))
        for number in re.findall(r"\d+", mark.group())
    )


def mark_unknown(answer: str, known: Iterable[int]) -> str:
    """Return the answer with a question mark behind each number that no source has: ``[9?]``."""
    known_numbers = frozenset(known)
    prose = _without_code(answer)
    pieces: list[str] = []
    end = 0
    for mark in MARK.finditer(prose):
        pieces += (answer[end : mark.start()], _marked(answer[mark.start() : mark.end()], known_numbers))
        end = mark.end()
    return "".join((*pieces, answer[end:]))


def narrow(source: Source, names: frozenset[str]) -> Citation:
    """Return the citation of the lines that hold what the answer names, or of the whole source."""
    chunk = source.chunk
    bearing = [
        number
        for number, line in enumerate(chunk.text.split("\n"), start=chunk.start_line)
        if names.intersection(IDENTIFIER.findall(line))
    ]
    first, last = (bearing[0], bearing[-1]) if bearing else (chunk.start_line, chunk.end_line)
    return Citation(source, first, last, CitationState.VERIFIED)


def check(citation: Citation, text: str | None) -> Citation:
    """Return the citation as it stands in the file's text of today.

    Verified: the cited lines are where they were. Moved: they stand, once, elsewhere in the file, and the
    citation has the new lines. The whole source is looked for first, since few lines may recur by chance.
    """
    if text is None:
        return _with(citation, CitationState.GONE)
    lines = text.split("\n")
    chunk = citation.source.chunk
    cited = chunk.part(citation.start_line, citation.end_line).text.split("\n")
    if lines[citation.start_line - 1 : citation.end_line] == cited:
        return _with(citation, CitationState.VERIFIED)
    whole = _only_place(chunk.text.split("\n"), lines)
    if whole is not None:
        return _with(citation, CitationState.MOVED, shift=whole + 1 - chunk.start_line)
    part = _only_place(cited, lines)
    if part is not None:
        return _with(citation, CitationState.MOVED, shift=part + 1 - citation.start_line)
    return _with(citation, CitationState.CHANGED)


def _with(citation: Citation, state: CitationState, *, shift: int = 0) -> Citation:
    return Citation(citation.source, citation.start_line + shift, citation.end_line + shift, state)


def _only_place(wanted: Sequence[str], lines: Sequence[str]) -> int | None:
    """Return the index at which the wanted lines stand, if they stand at exactly one."""
    size = len(wanted)
    places = [
        start
        for start, line in enumerate(lines)
        if line == wanted[0] and list(lines[start : start + size]) == list(wanted)
    ]
    return places[0] if len(places) == 1 else None


def _attributed(answer: str, sources: Sequence[Source]) -> set[int]:
    """Return the numbers of the sources that the answer's identifiers and file names point at."""
    held = {source.number: frozenset(IDENTIFIER.findall(source.chunk.text)) for source in sources}
    found: set[int] = set()
    for name in _names(answer):
        defining = {
            source.number
            for source in sources
            if source.chunk.symbol and name == source.chunk.symbol.rpartition(".")[2]
        }
        holding = {number for number, identifiers in held.items() if name in identifiers}
        chosen = defining or holding
        if len(chosen) <= MOST_SHARED:
            found |= chosen
    return found


def _named_files(answer: str, sources: Sequence[Source]) -> set[int]:
    """Return the numbers of the sources whose file the answer names, where that tells them apart."""
    words = set(FILE_WORD.findall(answer))
    by_file: dict[PurePosixPath, set[int]] = {}
    for source in sources:
        path = source.chunk.path
        if any(word == str(path) or word.rpartition("/")[2] == path.name for word in words):
            by_file.setdefault(path, set()).add(source.number)
    return {number for numbers in by_file.values() if len(numbers) <= MOST_SHARED for number in numbers}


def _closest(answer: str, sources: Sequence[Source]) -> set[int]:
    """Return the source that holds most of the answer's words, if one holds at least half of them."""
    words = set(query_terms(_without_code(answer)).words)
    held = {
        source.number: len(words.intersection(index_terms(source.chunk.text).split())) for source in sources
    }
    best = max(held, key=lambda number: held[number], default=None)
    if best is None or held[best] < max(LEAST_SHARED_WORDS, len(words) / 2):
        return set()
    return {best}


def _names(answer: str) -> list[str]:
    """Return the identifiers that the answer names as code, each once, in order."""
    spans = [span.group(1) for span in CODE_SPAN.finditer(CODE_BLOCK.sub(" ", answer))]
    blocks = [block.group() for block in CODE_BLOCK.finditer(answer)]
    words = [word for part in (*spans, *blocks) for word in IDENTIFIER.findall(part)]
    words += [word for word in IDENTIFIER.findall(_without_code(answer)) if CODE_WORD.fullmatch(word)]
    return [word for word in dict.fromkeys(words) if len(word) >= LEAST_LENGTH]


def _without_code(answer: str) -> str:
    """Return the answer with code blanked out, so that places in it stay what they were."""
    return CODE_SPAN.sub(_blank, CODE_BLOCK.sub(_blank, answer))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _marked(mark: str, known: frozenset[int]) -> str:
    return re.sub(r"\d+", lambda n: n.group() if int(n.group()) in known else f"{n.group()}?", mark)
