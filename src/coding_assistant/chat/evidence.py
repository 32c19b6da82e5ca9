"""What ties a sentence of an answer to lines of code: names, numbers and words that both have.

It knows nothing of citations and their numbers.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from coding_assistant.domain import Chunk
from coding_assistant.terms import index_terms, query_terms, stem

MOST_LINES = 12
"""More than these are no evidence that a reader checks at a glance; a definition is cited whole."""

LEAST_LENGTH = 3

NAME_WEIGHT = 3.0
"""What a name or a file's name counts where a word counts 1: words of one sentence stand together in code by
chance."""

DEFINITION_WEIGHT = 2.0
"""What a name's definition counts beside the name itself."""

LINE_PRICE = 0.03
"""What a line more must add, as a share of all there is to be found."""

CODE_BLOCK = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
CODE_SPAN = re.compile(r"`([^`\n]+)`")
IDENTIFIER = re.compile(r"[^\W\d]\w*|\d{3,}")
"""A name, or a number long enough to be no coincidence: 404, 8080."""

CODE_WORD = re.compile(r"\w*[a-z][A-Z]\w*|\w+_\w+|_\w+|[A-Z]{2,}\w*|\d+")
"""camelCase, CapWords of two words, snake_case, constants, numbers: code even without back quotes."""

FILE_NAME = re.compile(r"(?<![\w.-])[\w-][\w.-]{0,98}\.[A-Za-z]\w{0,9}(?![\w-])")
"""The last part of what may be a path. Its length is bounded: a run of 32,000 letters would take seconds."""

_DEFINING = (
    r"^\s*(?:@?[\w.<>\[\]*&:,()-]+\s+){{0,4}}?(?:def|class|fn|func|function|struct|enum|trait|interface|type|const"
    r"|let|var|val|module|defmodule|defp?|macro_rules!|typedef|\#\s*define)\s+(?:\([^)]*\)\s*)?(?:self\.)?{0}\b"
    r"|^(?:\s*(?:export|static|final|public|private|protected|const|readonly)\s+)*\s*{0}\s*(?::[^=]*)?=(?![=>])"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What ties a text to code: ``names`` and numbers, what may be ``files``, the stems of its ``words``."""

    names: frozenset[str]
    files: frozenset[str]
    words: frozenset[str]

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a name nor a word."""
        return not (self.names or self.words)

    def beyond(self, other: "Evidence") -> "Evidence":
        """Return what the other evidence lacks."""
        return Evidence(self.names - other.names, self.files - other.files, self.words - other.words)


def evidence_of(text: str) -> Evidence:
    """Return what a text may be found by again."""
    words = [word for word in query_terms(without_code(text)).words if len(word) >= LEAST_LENGTH]
    return Evidence(
        frozenset(name for name in _names(text) if len(name) >= LEAST_LENGTH),
        frozenset(FILE_NAME.findall(text)),
        frozenset(map(stem, words)),
    )


def without_code(answer: str) -> str:
    """Return the answer with code blanked out, so that places in it stay what they were."""
    return CODE_SPAN.sub(_blank, CODE_BLOCK.sub(_blank, answer))


def defines(chunk: Chunk, name: str) -> bool:
    """Return whether a chunk is the definition of a name, or holds it."""
    if chunk.symbol and name == _last_part(chunk.symbol):
        return True
    return not name.isdigit() and _line_defining(chunk, name) is not None


def _line_defining(chunk: Chunk, name: str) -> int | None:
    """Return the line on which the chunk defines the name, if it does."""
    found = re.search(_DEFINING.format(re.escape(name)), chunk.text, re.MULTILINE)
    if found is None:
        return None
    return chunk.start_line + chunk.text.count("\n", 0, found.end())


def bearing_lines(chunk: Chunk, evidence: Evidence) -> tuple[int, int]:
    """Return the first and the last of the lines that bear the evidence out.

    The tightest run of at most ``MOST_LINES`` that holds most of it. Where nothing but its own name bears a
    definition out, the definition; the whole chunk, where nothing does.
    """
    whole = chunk.start_line, chunk.end_line
    lines = [_shared(line, evidence) for line in chunk.text.split("\n")]
    if not any(lines):
        return whole
    first, last = _best_run(lines)
    named = {term for line in lines[first : last + 1] for term in line} & evidence.names
    own_name = _last_part(chunk.symbol) if chunk.symbol else ""
    if own_name in evidence.names and named <= {own_name}:
        return _line_defining(chunk, own_name) or chunk.start_line, chunk.end_line
    return chunk.start_line + first, chunk.start_line + last


def shared(chunk: Chunk, evidence: Evidence) -> dict[str, float]:
    """Return what a chunk, its symbol and its file's name hold of the evidence, and what each counts."""
    held = _shared(f"{chunk.symbol or ''}\n{chunk.text}", evidence)
    defined = [name for name in evidence.names & held.keys() if defines(chunk, name)]
    held |= dict.fromkeys((f"definition of {name}" for name in defined), DEFINITION_WEIGHT)
    return held | dict.fromkeys(evidence.files & {chunk.path.name}, NAME_WEIGHT)


def _shared(text: str, evidence: Evidence) -> dict[str, float]:
    stems, identifiers = _terms_in(text)
    return dict.fromkeys(evidence.words & stems, 1.0) | dict.fromkeys(
        evidence.names & identifiers, NAME_WEIGHT
    )


@lru_cache(maxsize=1_024)  # each source is compared with each claim of an answer
def _terms_in(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the stems of a text's words, and its identifiers."""
    return frozenset(map(stem, index_terms(text).split())), frozenset(IDENTIFIER.findall(text))


def _best_run(lines: Sequence[dict[str, float]]) -> tuple[int, int]:
    """Return the indexes of the first and the last line of the run that is worth most.

    What is in many lines counts little, and each line has its price, or a word would stretch the run.
    """
    counts = Counter(term for line in lines for term in line)
    price = LINE_PRICE * sum({term: worth for line in lines for term, worth in line.items()}.values())
    best, best_run = float("-inf"), (0, 0)
    for first in (index for index, line in enumerate(lines) if line):
        held: dict[str, float] = {}
        for last in range(first, min(first + MOST_LINES, len(lines))):
            held |= {term: worth / counts[term] for term, worth in lines[last].items()}
            worth = sum(held.values()) - price * (last - first)
            if lines[last] and worth > best:
                best, best_run = worth, (first, last)
    return best_run


def _names(text: str) -> list[str]:
    """Return the identifiers and numbers that a text gives as code, each once, in order."""
    spans = [span.group(1) for span in CODE_SPAN.finditer(CODE_BLOCK.sub(" ", text))]
    blocks = [block.group() for block in CODE_BLOCK.finditer(text)]
    words = [word for part in (*spans, *blocks) for word in IDENTIFIER.findall(part)]
    words += [word for word in IDENTIFIER.findall(without_code(text)) if CODE_WORD.fullmatch(word)]
    return list(dict.fromkeys(words))


def _last_part(symbol: str) -> str:
    """Return ``send`` of ``Session.send``, whatever joins them."""
    return re.split(r"\W+", symbol.strip("()"))[-1]


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())
