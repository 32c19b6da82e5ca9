"""Finds the lines that use a name, for who asks for them: "who calls ``send``?", "subclasses of Node".

No table of references is kept. Every name is a term of the text index, so the chunks that hold it are found
there, and their lines tell which are uses: docs/retrieval-log.md, "The graph", compares the two. Where the
chunks come from is not known here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from coding_assistant.domain import Chunk, ContextLine, Hit
from coding_assistant.terms import STOP_WORDS, query_terms

# So many lines before and after a use are shown. Of 51 such questions 500 tokens hold all uses for 100, 96
# and 94 in 100 with 1, 3 and 5 lines; with whole chunks for 65. Three show what is done with the result.
LINES_AROUND = 3
# Code that a use stands in: its function and the conditions above it, the innermost last.
_MOST_HEADS = 4
_LONGEST_HEAD_CHARACTERS = 160
# A longer question leads somewhere else, and names what it is not about.
_MOST_WORDS = 16

_KINDS = r"(?:functions?|methods?|class|interface|trait|type|constant|macro|module|exception|error)"
_NAME = rf"`?(?P<name>(?!{_KINDS}\b)[^\W\d]\w*(?:(?:\.|::|#|->)\w+)*[?!]?)(?:\(\))?`?"
_KIND = rf"(?:{_KINDS} )?(?:(?:the|a|an|our|its) (?:\w+ )?)?"
_HEIR_VERBS = r"implements?|extends?|inherits?(?: from)?|subclass(?:es)?|derives? from|overrides?"
_VERBS = (
    r"calls?|uses?|using|invokes?|references?|refers? to|imports?|instantiates?|creates?|constructs?"
    r"|raises?|throws?|catches|depends? on|mentions?|reads?|sets?"
)
_DONE = (
    r"called|used|invoked|referenced|imported|instantiated|created|constructed|raised|thrown|caught|checked"
    r"|needed|mentioned|read|set"
)
_HEIRS = r"(?:sub|child |derived )class(?:es)?|implementations?|implement[eo]rs?|overrides|heirs"
_USES = r"callers?|usages?|uses|users|references|call sites?|calls"
_WHO = r"(?:who|what|which(?: \w+){1,3}?|where (?:do|does) (?:\w+ )?\w+)(?: else| all)?"
_QUESTIONS = (
    re.compile(rf"{_WHO} (?:(?P<heir>{_HEIR_VERBS})|{_VERBS}) {_KIND}{_NAME}", re.IGNORECASE),
    re.compile(
        rf"where(?: else)? (?:is|are|was|gets?) {_KIND}{_NAME}(?: \w+)?? (?:{_DONE})\b", re.IGNORECASE
    ),
    re.compile(rf"(?:(?P<heir>{_HEIRS})|{_USES}) (?:of|to|for) {_KIND}{_NAME}", re.IGNORECASE),
)
_OPENING = re.compile(
    r"(?:(?:and|so|please|list|show(?: me)?|find|give me|tell me|what are|all|every|the|from)\s+)+",
    re.IGNORECASE,
)
_REST = re.compile(r"(?: \w+){0,5}\W*")

_WORD = re.compile(r"\w+[?!]?")
_COMMENT = re.compile(r"\s*(?://|/\*|\*(?:\s|/|$)|#(?!\[|\s*(?:define|if|elif|undef)\b)|--|;|\"\"\"|''')")
_IMPORT = re.compile(
    r"\s*(?:import|from|use|using|require|require_relative|alias|pub use|export \{|#\s*include)\b"
    r"|.*\brequire\("
)
_DEFINING = re.compile(
    r"(?:\b(?:def|defp|defmacro|fn|func|fun|function|sub|class|struct|interface|trait|type|enum|union|module|object"
    r"|record|package|macro_rules!|newtype|data|const|let|var|val|local)|#\s*define)"
    r"\s+(?:\([^)]*\)\s*)?(?:\w+[.:]+)*$"
)
# Looked at before a name for the word that defines it: a minified line would take the square of its length.
_BEFORE_NAME = 200
_HEIR_LINE = re.compile(
    r"\b(?:class|struct|interface|trait|impl|object|record|enum|protocol|extension|instance|defimpl|extends"
    r"|implements|include|extend|prepend|use)\b"
)


@dataclass(frozen=True, slots=True)
class UsesAsked:
    """A question for the uses of a name; ``heirs``: only for what extends or implements it.

    ``is_plain``: nothing but the wording says that the name is one, so it is to be believed only if the
    project defines it.
    """

    name: str
    heirs: bool
    is_plain: bool


def uses_asked(question: str) -> UsesAsked | None:
    """Return whose uses the question asks for; None for any other question."""
    text = " ".join(question.split())
    if len(text.split()) > _MOST_WORDS:
        return None
    opening = _OPENING.match(text)
    body = text[opening.end() :] if opening else text
    names = {segment for name in query_terms(text).names for segment in _WORD.findall(name)}
    for pattern in _QUESTIONS:
        for found in pattern.finditer(body):
            name = _WORD.findall(found["name"])[-1]
            is_heir = bool(found.groupdict().get("heir"))
            if name in names or name.rstrip("?!") in names:
                return UsesAsked(name if name in names else name.rstrip("?!"), is_heir, is_plain=False)
            is_all = found.start() == 0 and _REST.fullmatch(body, found.end())
            if is_all and name.rstrip("?!").lower() not in STOP_WORDS:
                return UsesAsked(name.rstrip("?!"), is_heir, is_plain=True)
    return None


def uses(asked: UsesAsked, hits: Sequence[Hit]) -> list[Hit]:
    """Return the uses among hits that hold the name, in their order, each narrowed to the lines around it.

    Definitions, imports and comments are no uses. Several uses close by are one hit. Nothing is returned if
    nothing uses the name, or if it is a plain word that the hits do not define.
    """
    lines_of = [_Lines.of(hit.chunk, asked.name) for hit in hits]
    if asked.is_plain and not any(lines.defines for lines in lines_of):
        return []
    rows_of = [lines.uses for lines in lines_of]
    if asked.heirs:
        heirs = [
            tuple(row for row in rows if _is_heir(hit.chunk, row))
            for hit, rows in zip(hits, rows_of, strict=True)
        ]
        rows_of = heirs if any(heirs) else rows_of
    return [
        replace(hit, chunk=chunk)
        for hit, rows in zip(hits, rows_of, strict=True)
        for chunk in _windows(hit.chunk, rows)
    ]


@dataclass(frozen=True, slots=True)
class _Lines:
    """The rows of a chunk that use a name, and whether any defines it."""

    uses: tuple[int, ...]
    defines: bool

    @classmethod
    def of(cls, chunk: Chunk, name: str) -> "_Lines":
        word = re.compile(rf"(?<![\w]){re.escape(name)}(?![\w])")
        rows = [
            (row, line, match.start())
            for row, line in enumerate(chunk.text.split("\n"))
            if (match := word.search(line)) and not _COMMENT.match(line)
        ]
        defining = {
            row for row, line, start in rows if _DEFINING.search(line[max(0, start - _BEFORE_NAME) : start])
        }
        symbol = _WORD.findall(chunk.symbol or "")
        if rows and not defining and symbol and symbol[-1] == name and not _IMPORT.match(rows[0][1]):
            defining.add(rows[0][0])  # int name(…), name(…) {: languages that have no word for it
        used = (row for row, line, _ in rows if row not in defining and not _IMPORT.match(line))
        return cls(tuple(used), bool(defining))


def _is_heir(chunk: Chunk, row: int) -> bool:
    return bool(_HEIR_LINE.search(chunk.text.split("\n")[row]))


def _windows(chunk: Chunk, rows: Iterable[int]) -> Iterator[Chunk]:
    """Yield the lines around the rows as chunks; windows that meet are one."""
    lines = chunk.text.split("\n")
    windows: list[tuple[int, int]] = []
    for row in rows:
        first, last = max(0, row - LINES_AROUND), min(len(lines) - 1, row + LINES_AROUND)
        if windows and first <= windows[-1][1] + 1:
            windows[-1] = windows[-1][0], last
        else:
            windows.append((first, last))
    for first, last in windows:
        window = chunk.part(chunk.start_line + first, chunk.start_line + last)
        yield replace(window, context=_context(chunk, lines, first))


def _context(chunk: Chunk, lines: Sequence[str], first: int) -> tuple[ContextLine, ...]:
    """Return what a window stands in: the chunk's own context above, then the rows that are less indented."""
    heads: list[ContextLine] = []
    margin = min((_margin(line) for line in lines[first:] if line.strip()), default=0)
    for row in range(first - 1, -1, -1):
        if margin == 0 or len(heads) == _MOST_HEADS:
            break
        line = lines[row]
        if line.strip(" \t{}();") and _margin(line) < margin:
            margin = _margin(line)
            heads.append(ContextLine(chunk.start_line + row, line[:_LONGEST_HEAD_CHARACTERS].rstrip()))
    above = tuple(line for line in chunk.context if line.line < chunk.start_line)
    return (*above, *reversed(heads))


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())
