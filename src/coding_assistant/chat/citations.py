"""Which sources an answer rests on, and whether they still say what the model read.

A sentence rests on the sources that it cites as ``[n]``, if they bear it out: small models write any number.
What the other sentences rest on is inferred from the names and words that they have beyond the question's,
and says so. Each citation is narrowed to the lines that bear out what it stands for (``evidence``), and
compared with the working tree.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

from coding_assistant.chat.evidence import Evidence, bearing_lines, defines, evidence_of, shared, without_code
from coding_assistant.domain import Citation, CitationState, Source, SourceOrigin

MARK = re.compile(r"(?<![\w\])])(?:\[\d{1,4}(?:\s*[,;]\s*\d{1,4})*\])+(?!\()")
"""``[3]``, ``[1, 2]`` and ``[1][2]``, but neither an index as in ``items[3]`` nor a Markdown link."""

BORNE_OUT = 0.3
"""A source whose number is written holds at least so much of what it stands for as the one that holds most,
unless it defines a name of it. Of 157 right numbers 142 stand so, of 546 wrong ones 141. Where no source
holds any of it, as in another language, every number stands."""

MOST_INFERRED = 3

NEAR_BEST = 0.7
"""Of the best source's score, for another one to be inferred beside it."""

FOUND_FIRST = 0.2
"""What the source found first counts beside the one that holds most of the answer; the second half of it, the
third a third. This and the two above are a balance: with more sources, a right one is more often among those
of a small model's answer, and a wrong one among those of a right one (docs/answers-log.md, "Citations")."""

LEAST_SHARE = 0.1
"""Of its words: where no source holds a name of the answer, one that holds less of them is no evidence."""

_SENTENCE_END = re.compile(r"(?:(?<=[.!?:])\s+|\n\s*)(?!\s*\[\d)|\n\s*(?=\[\d[\d,; ]*\][^\S\n]*[^\s\[])")
"""A number behind the full stop, or on a line of its own, belongs to the sentence before it; one with words
behind it on its line begins a point of a list."""


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

    The sources of this question come first, the best of them before the others.

    ``current`` holds the text of each cited file as the walk reads it now; None or absent: it is gone.
    An answer that ``says_nothing`` of the sources, but that they do not hold what was asked for, cites none.
    """
    cited = () if says_nothing else cite(answer, sources, question=question)
    citations = tuple(check(citation, current.get(citation.source.chunk.path)) for citation in cited)
    known = {source.number for source in sources}
    unknown = tuple(sorted(set(written_numbers(answer)) - known))
    return ResolvedAnswer(mark_unknown(answer, known), citations, unknown)


def cite(answer: str, sources: Sequence[Source], *, question: str = "") -> tuple[Citation, ...]:
    """Return what the answer rests on, in the order of the sources' numbers, as the sources have it.

    What the answer repeats of the ``question`` tells nothing of where it was read, unless it says nothing
    else; but a number that is written for it may be right. For the order of the sources see ``resolve``.
    """
    written: dict[int, str] = {}
    uncited = ""
    for sentence in _sentences(answer):
        borne_out = [
            (number, claim)
            for claim, marked in _claims(sentence).items()
            for number in _borne_out(claim, marked, sources)
        ]
        for number, claim in borne_out:
            written[number] = f"{written.get(number, '')} {claim}".strip()
        uncited += "" if borne_out else sentence
    inferred = _given_away(_telling(uncited, evidence_of(question)), sources)
    in_text = frozenset(written_numbers(answer))
    return tuple(
        narrow(source, written.get(number, uncited), is_inferred=number not in in_text)
        for number, source in sorted({each.number: each for each in sources}.items())
        if number in {*written, *inferred}
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


def _claims(sentence: str) -> dict[str, list[int]]:
    """Return what stands before the marks of a sentence, or else behind them, with the numbers in them."""
    prose = without_code(sentence)
    claims: dict[str, list[int]] = {}
    claim, start = "", 0
    for mark in MARK.finditer(prose):
        before = sentence[start : mark.start()]
        start = mark.end()
        if not evidence_of(before).is_empty:
            claim = before
        elif not claims:
            claim = sentence[start:]
        claims.setdefault(claim, []).extend(written_numbers(mark.group()))
    return claims


def _borne_out(claim: str, numbers: Iterable[int], sources: Sequence[Source]) -> list[int]:
    """Return those of the numbers whose sources hold enough of a claim, or define a name of it."""
    evidence = evidence_of(MARK.sub(" ", claim))
    worth = _worth(_held(evidence, sources))
    least = BORNE_OUT * max(worth.values(), default=0.0)
    chunks = {source.number: source.chunk for source in sources}
    return [
        number
        for number in dict.fromkeys(numbers)
        if number in worth
        and (worth[number] >= least or any(defines(chunks[number], name) for name in evidence.names))
    ]


def _given_away(told: Evidence, sources: Sequence[Source]) -> list[int]:
    """Return the numbers of the sources that hold most of what is told; none, if chance would explain it."""
    held = _held(told, sources)
    worth = _worth(held)
    most = max(worth.values(), default=0.0)
    names = told.names | told.files
    is_named = any(names & terms.keys() for terms in held.values())
    if not most or not (is_named or most >= LEAST_SHARE * len(told.words)):
        return []
    scores = {
        number: each / most + FOUND_FIRST / place
        for place, (number, each) in enumerate(worth.items(), start=1)
    }
    best = sorted(scores, key=scores.__getitem__, reverse=True)[:MOST_INFERRED]
    return [number for number in best if scores[number] >= NEAR_BEST * scores[best[0]]]


def _telling(text: str, asked: Evidence) -> Evidence:
    """Return what a text says beyond the question; all of it, where it says nothing else."""
    said = evidence_of(MARK.sub(" ", text))
    told = said.beyond(asked)
    return said if told.is_empty else told


def _held(evidence: Evidence, sources: Sequence[Source]) -> dict[int, Mapping[str, float]]:
    """Return what of the evidence each source holds, by number, and what each part of it counts."""
    return {source.number: shared(source.chunk, evidence) for source in sources}


def _worth(held: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return what that is worth by number; what several sources hold counts for each the less."""
    counts = Counter(term for terms in held.values() for term in terms)
    return {
        number: sum(each / counts[term] for term, each in terms.items()) for number, terms in held.items()
    }


def _sentences(answer: str) -> list[str]:
    """Return the sentences of an answer, each with the code in it."""
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(without_code(answer))), len(answer)]
    parts = (answer[start:end] for start, end in pairwise(ends))
    return [part for part in parts if part.strip()]


def _marked(mark: str, known: frozenset[int]) -> str:
    return re.sub(r"\d+", lambda n: n.group() if int(n.group()) in known else f"{n.group()}?", mark)
