"""Which sources an answer rests on, and whether they still say what the model read.

A sentence rests on the sources that it cites as ``[n]``. Small models forget to: of a sentence without a
number, what gives away where it was read are a name that a source defines, or two rare names or numbers that
stand together in one. Such citations are inferred, and say so. Each is narrowed to the lines that bear its
sentence out (``evidence``), and compared with the working tree.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

from coding_assistant.chat.evidence import (
    Evidence,
    bearing_lines,
    defines,
    evidence_of,
    shared,
    stands_together,
    without_code,
)
from coding_assistant.domain import Citation, CitationState, Source, SourceOrigin

MARK = re.compile(r"(?<![\w\])])(?:\[\d{1,4}(?:\s*[,;]\s*\d{1,4})*\])+(?!\()")
"""``[3]``, ``[1, 2]`` and ``[1][2]``, but neither an index as in ``items[3]`` nor a Markdown link."""

MOST_SHARED = 2
"""An identifier that stands in more sources than this tells nothing about which of them was used."""

FILE_WORD = re.compile(r"[\w./-]*\w\.\w{1,4}\b")

LEAST_SHARE = 0.1
"""Of the words of an answer that names nothing: the nearest source holding less of them is no evidence."""

_SENTENCE_END = re.compile(r"(?:(?<=[.!?:])\s+|\n\s*)(?!\s*\[\d)")
"""But a number behind the full stop belongs to the sentence before it."""


@dataclass(frozen=True, slots=True)
class ResolvedAnswer:
    """The answer's text with invented numbers marked, and what it cites."""

    text: str
    citations: tuple[Citation, ...]
    unknown: tuple[int, ...]


def resolve(
    answer: str,
    sources: Sequence[Source],
    current: Mapping[PurePosixPath, str | None],
    *,
    question: str = "",
    says_nothing: bool = False,
) -> ResolvedAnswer:
    """Resolve an answer against the sources shown to the model and today's text of their files.

    ``current`` holds the text of each cited file as the walk reads it now; None or absent: it is gone.
    An answer that ``says_nothing`` of the sources, but that they do not hold what was asked for, cites none.
    """
    known = {source.number for source in sources}
    cited = () if says_nothing else cite(answer, sources, question=question)
    citations = tuple(check(citation, current.get(citation.source.chunk.path)) for citation in cited)
    unknown = tuple(sorted(set(written_numbers(answer)) - known))
    return ResolvedAnswer(mark_unknown(answer, known), citations, unknown)


def cite(answer: str, sources: Sequence[Source], *, question: str = "") -> tuple[Citation, ...]:
    """Return what the answer rests on, in the order of the sources' numbers, as the sources have it.

    What the answer repeats of the ``question`` gives nothing away, unless nothing else does.
    """
    asked = evidence_of(question).names
    sentences = _sentences(answer)
    written = _written(sentences, sources)
    inferred = _inferred(sentences, sources, asked)
    if not (written or inferred):
        inferred = _inferred(sentences, sources, frozenset()) or _by_file(answer, sources)
    if not (written or inferred):
        inferred = _in_words(answer, sources)
    by_number = {source.number: source for source in sources}
    return tuple(
        narrow(by_number[number], written.get(number) or inferred[number], is_inferred=number not in written)
        for number in sorted(written.keys() | inferred.keys())
    )


def written_numbers(answer: str) -> tuple[int, ...]:
    """Return the numbers that the answer cites in its prose, code left out."""
    return tuple(
        int(number)
        for mark in MARK.finditer(without_code(answer))
        for number in re.findall(r"\d+", mark.group())
    )


def mark_unknown(answer: str, known: Iterable[int]) -> str:
    """Return the answer with a question mark behind each number that no source has: ``[9?]``."""
    known_numbers = frozenset(known)
    prose = without_code(answer)
    pieces: list[str] = []
    end = 0
    for mark in MARK.finditer(prose):
        pieces += (answer[end : mark.start()], _marked(answer[mark.start() : mark.end()], known_numbers))
        end = mark.end()
    return "".join((*pieces, answer[end:]))


def narrow(source: Source, sentences: str, *, is_inferred: bool = False) -> Citation:
    """Return the citation of the lines that bear these sentences out, or of the whole source."""
    first, last = bearing_lines(source.chunk, evidence_of(MARK.sub(" ", sentences)))
    return Citation(source, first, last, CitationState.VERIFIED, is_inferred)


def check(citation: Citation, text: str | None) -> Citation:
    """Return the citation as it stands in the file's text of today.

    Verified: the cited lines are where they were. Moved: they stand, once, elsewhere in the file, and the
    citation has the new lines. The whole source is looked for first, since few lines may recur by chance.
    What is in no file is ``given``.
    """
    if citation.source.origin is SourceOrigin.GIVEN:
        return _with(citation, CitationState.GIVEN)
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
    return replace(
        citation, start_line=citation.start_line + shift, end_line=citation.end_line + shift, state=state
    )


def _only_place(wanted: Sequence[str], lines: Sequence[str]) -> int | None:
    """Return the index at which the wanted lines stand, if they stand at exactly one."""
    size = len(wanted)
    places = [
        start
        for start, line in enumerate(lines)
        if line == wanted[0] and list(lines[start : start + size]) == list(wanted)
    ]
    return places[0] if len(places) == 1 else None


def _written(sentences: Sequence[str], sources: Sequence[Source]) -> dict[int, str]:
    """Return the numbers that are written and known, each with the sentences that it stands in."""
    known = {source.number for source in sources}
    found: dict[int, str] = {}
    for sentence in sentences:
        for number in dict.fromkeys(written_numbers(sentence)):
            if number in known:
                found[number] = f"{found.get(number, '')} {sentence}".strip()
    return found


def _inferred(sentences: Sequence[str], sources: Sequence[Source], asked: frozenset[str]) -> dict[int, str]:
    """Return the sources that sentences without a number give away, each with those sentences."""
    found: dict[int, str] = {}
    for sentence in sentences:
        if written_numbers(sentence):
            continue
        for number in _given_away(evidence_of(sentence).without(asked), sources):
            found[number] = f"{found.get(number, '')} {sentence}".strip()
    return found


def _given_away(evidence: Evidence, sources: Sequence[Source]) -> Iterator[int]:
    """Yield the numbers of the sources that define what is named, or hold two rare names of it together.

    Of several that define one name, parts of one definition mostly, the one that holds most of the evidence.
    """
    for name in evidence.names:
        defining = [each for each in sources if defines(each.chunk, name)]
        if defining:
            yield _nearest(evidence, defining)[0]
    held = [evidence_of(source.chunk.text, is_code=True).names for source in sources]
    rare = [name for name in evidence.names if sum(name in names for names in held) <= MOST_SHARED]
    for source in sources:
        if stands_together(source.chunk, rare):
            yield source.number


def _by_file(answer: str, sources: Sequence[Source]) -> dict[int, str]:
    """Return the sources whose file the answer names, where each is the only one of its file."""
    words = set(FILE_WORD.findall(answer))
    by_file: dict[PurePosixPath, list[int]] = {}
    for source in sources:
        path = source.chunk.path
        if any(word == str(path) or word.rpartition("/")[2] == path.name for word in words):
            by_file.setdefault(path, []).append(source.number)
    return {numbers[0]: answer for numbers in by_file.values() if len(numbers) == 1}


def _in_words(answer: str, sources: Sequence[Source]) -> dict[int, str]:
    """Return the source that holds most of the answer's words; nothing, if it holds hardly any."""
    evidence = evidence_of(answer)
    number, worth = _nearest(evidence, sources) if sources else (0, 0.0)
    return {number: answer} if worth >= LEAST_SHARE * evidence.weight > 0 else {}


def _nearest(evidence: Evidence, sources: Sequence[Source]) -> tuple[int, float]:
    """Return the number of the source that holds most of the evidence, and what that is worth.

    What several of the sources hold counts for each the less.
    """
    held = [shared(source.chunk, evidence) for source in sources]
    counts = Counter(term for terms in held for term in terms)
    worth = [sum(each / counts[term] for term, each in terms.items()) for terms in held]
    best = max(range(len(sources)), key=worth.__getitem__)
    return sources[best].number, worth[best]


def _sentences(answer: str) -> list[str]:
    """Return the sentences of an answer, each with the code in it."""
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(without_code(answer))), len(answer)]
    parts = (answer[start:end] for start, end in pairwise(ends))
    return [part for part in parts if part.strip()]


def _marked(mark: str, known: frozenset[int]) -> str:
    return re.sub(r"\d+", lambda n: n.group() if int(n.group()) in known else f"{n.group()}?", mark)
