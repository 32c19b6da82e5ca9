"""Chooses what answers a question about a project as a whole: how it is organised, where to start reading.

Such a question shares no word with the code, so a text search finds little: within 2,000 tokens a quarter of
the files that questions about a project's parts are about, against 99 in 100 here (docs/retrieval-log.md,
"The graph").
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import PurePosixPath

from coding_assistant.domain import Chunk, ContextLine
from coding_assistant.index.ranking import places_of
from coding_assistant.index.store import ProjectIndex
from coding_assistant.terms import query_terms

# What 2,000 tokens hold of the map below; beyond that nobody reads on.
MOST_FILES = 40
# The README opens with what the project is; what follows is how to install it.
README_CHARACTERS = 1_500
# Of each file the first lines of its largest definition, and the heads of the next. With six lines, 1,000
# tokens show 12 files instead of 19, and .77 instead of .91 of the files asked about.
_HEAD_LINES = 3
_MOST_OTHERS = 3
_LONGEST_HEAD_CHARACTERS = 100
_MOST_WORDS = 14

_KINDS = (
    r"(?:project|repo|repository|code ?base|source code|code|source|package|library|app|application|program"
    r"|system|software|tool|framework|crate|gem)"
)
_IT = rf"(?:(?:the|this|that|your|our) (?:\w+ )?{_KINDS}|this|everything|it all)"
_PARTS = (
    r"(?:parts?|components?|modules?|files?|class(?:es)?|pieces?|packages?|folders?|director(?:y|ies)"
    r"|building blocks?|sub-?systems?|layers?|entry points?|concepts?|abstractions?)"
)
_MAIN = r"(?:main|most important|major|key|core|central|top.level)"
_BUILT = r"(?:organi[sz]ed|structured|laid out|built|arranged|divided|split|set up)"
_PLAN = r"(?:overview|architecture|structure|layout|organi[sz]ation|big picture|map|tour|summary|design)"
_SHORT = r"(?:(?:short|brief|quick|high.level|overall|general) )*"
_TELL = r"(?:what is|what's|describe|explain|outline|summari[sz]e|show|give)"
_BEGIN = r"(?:start|begin)(?: (?:reading|looking|from|with))*"
_ASKING = (
    rf"how (?:is|are) {_IT} (?:\w+ )?{_BUILT}",
    rf"how (?:does|do) {_IT} (?:work|fit together|hang together)",
    rf"what (?:does|is) {_IT}(?: (?:do|for|about|made of))*",
    rf"where (?:do|should|can|would|could) (?:i|we|one|you|a newcomer) {_BEGIN}(?: (?:in )?(?:{_IT}|here))?",
    rf"(?:what|which) (?:are|is) (?:the |its )?(?:{_MAIN} {_PARTS}|entry points?)(?: (?:of|in) {_IT}| here)?",
    rf"what {_PARTS} (?:does|do) {_IT} (?:have|consist of)",
    rf"what {_PARTS} (?:are there|is there)(?: in {_IT})?",
    rf"(?:{_TELL} )?(?:me |us )?(?:the |an? )?{_SHORT}{_PLAN}(?: (?:of|to|for) (?:{_IT}|the {_PLAN}))?",
    rf"(?:describe|explain|outline|summari[sz]e|introduce|walk me through) (?:me )?{_IT}",
    rf"(?:the |this )?{_KINDS} {_PLAN}",
)
_OPENING = r"(?:(?:please|hi|hello|ok|so|and|can you|could you)[\s,]+)*"
_CLOSING = r"(?:,? (?:please|as a whole|overall|roughly|at a high level|in general))*"
_OVERVIEW = re.compile(rf"{_OPENING}(?:{'|'.join(_ASKING)}){_CLOSING}", re.IGNORECASE)


def asks_for_overview(question: str) -> bool:
    """Return whether the question is about the project as a whole, and names nothing in it."""
    text = " ".join(question.split())
    if len(text.split()) > _MOST_WORDS or any(query_terms(text).names):
        return False
    sentences = [sentence for sentence in re.split(r"[.?!;]+\s*", text) if sentence]
    return bool(sentences) and all(_OVERVIEW.fullmatch(sentence) for sentence in sentences)


def main_files(sizes: Mapping[PurePosixPath, int], *, limit: int = MOST_FILES) -> list[PurePosixPath]:
    """Return the files that matter most: the largest, taken by turns from their folders.

    ``sizes`` are of the code, without tests, documents and vendored files. Each file taken from a folder
    makes the next of that folder count less: half, a third, a quarter.
    """
    of_folder: defaultdict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in sorted(sizes, key=lambda path: (-sizes[path], path)):
        of_folder[path.parent].append(path)
    # Of each folder its next file waits, with what it counts there.
    waiting = [(-float(sizes[files[0]]), files[0], 0) for files in of_folder.values()]
    heapq.heapify(waiting)
    chosen: list[PurePosixPath] = []
    while waiting and len(chosen) < limit:
        _, path, turn = heapq.heappop(waiting)
        chosen.append(path)
        files = of_folder[path.parent]
        if turn + 1 < len(files):
            following = files[turn + 1]
            heapq.heappush(waiting, (-sizes[following] / (2 + turn), following, turn + 1))
    return chosen


@dataclass(frozen=True, slots=True)
class MainParts:
    """The chunks of a project's README, and those of its main files, which come the most important first."""

    readme: Sequence[Chunk]
    files: Mapping[PurePosixPath, Sequence[Chunk]]


def main_parts(index: ProjectIndex) -> MainParts:
    """Return what tells most of a project as a whole."""
    sizes = index.sizes()
    opening = readme(sizes)
    files = main_files({p: size for p, size in sizes.items() if p != opening and not places_of(p)})
    chunks = index.chunks_of_files([*files, *([opening] if opening else [])])
    return MainParts(chunks[opening] if opening else [], {path: chunks[path] for path in files})


def readme(paths: Iterable[PurePosixPath]) -> PurePosixPath | None:
    """Return the README nearest to the project's root, if there is one."""
    found = (path for path in paths if path.name.lower().partition(".")[0] == "readme")
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def readme_opening(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return the first chunks of a README, as many as fit; of a first one that does not, the first lines."""
    left = README_CHARACTERS
    opening = []
    for chunk in chunks:
        left -= len(chunk.text)
        if left < 0:
            break
        opening.append(chunk)
    return opening or [
        _narrowed(chunk, 0, lines=_lines_within(chunk, README_CHARACTERS)) for chunk in chunks[:1]
    ]


def _lines_within(chunk: Chunk, characters: int) -> int:
    """Return how many first lines of a chunk fit; one at least."""
    ends = accumulate(len(line) + 1 for line in chunk.text.split("\n"))
    return max(1, sum(1 for end in ends if end <= characters))


def landmark(chunks: Sequence[Chunk]) -> Chunk | None:
    """Return the head of a file's largest definition, with the heads of the next largest as context.

    ``chunks`` are the file's, in order. A file that defines nothing shows how it begins.
    """
    if not chunks:
        return None
    sizes: Counter[str] = Counter()
    first: dict[str, Chunk] = {}
    for chunk in chunks:
        if chunk.symbol:
            owner = chunk.symbol.split(".")[0]
            sizes[owner] += len(chunk.text)
            first.setdefault(owner, chunk)
    largest = [owner for owner, _ in sizes.most_common(1 + _MOST_OTHERS)]
    if not largest:
        return _narrowed(chunks[0], 0)
    main = first[largest[0]]
    shown = _narrowed(main, _head_row(main, largest[0]))
    return replace(shown, context=tuple(_heads(first, largest[1:], shown)))


def _heads(first: Mapping[str, Chunk], owners: Iterable[str], shown: Chunk) -> Iterator[ContextLine]:
    """Yield the line of each definition's head that the chunk does not show, in the order of the file."""
    for chunk, owner in sorted(
        ((first[owner], owner) for owner in owners), key=lambda each: each[0].start_line
    ):
        row = _head_row(chunk, owner)
        line = chunk.start_line + row
        if not shown.start_line <= line <= shown.end_line:
            yield ContextLine(line, chunk.text.split("\n")[row][:_LONGEST_HEAD_CHARACTERS].rstrip())


def _head_row(chunk: Chunk, owner: str) -> int:
    """Return the row that names the owner, below decorators and comments; the first if none does."""
    word = re.compile(rf"(?<!\w){re.escape(owner)}(?!\w)")
    rows = enumerate(chunk.text.split("\n"))
    return next((row for row, line in rows if word.search(line) and line.lstrip()[:1] not in "#@/*-"), 0)


def _narrowed(chunk: Chunk, row: int, *, lines: int = _HEAD_LINES) -> Chunk:
    start = chunk.start_line + row
    return chunk.part(start, min(chunk.end_line, start + lines - 1))
