"""Chooses what answers a question about a project, or one of its folders, as a whole: how it is organised.

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
_MAIN_PARTS = rf"(?:{_MAIN} {_PARTS}|entry points?)"
_ANYBODY = r"(?:i|we|one|you|a newcomer)"
_BUILT = r"(?:organi[sz]ed|structured|laid out|built|arranged|divided|split|set up)"
_PLAN = r"(?:overview|architecture|structure|layout|organi[sz]ation|big picture|map|tour|summary|design)"
_SHORT = r"(?:(?:short|brief|quick|high.level|overall|general) )*"
_TELL = r"(?:what is|what's|describe|explain|outline|summari[sz]e|show|give)"
_BEGIN = r"(?:start|begin)(?: (?:reading|looking|from|with))*"
_OPENING = r"(?:(?:please|hi|hello|ok|so|and|can you|could you)[\s,]+)*"
_CLOSING = r"(?:,? (?:please|as a whole|overall|roughly|at a high level|in general))*"


def _asking(it: str) -> re.Pattern[str]:
    """Return what matches a sentence that asks for an overview of what the pattern ``it`` matches."""
    sentences = (
        rf"how (?:is|are) {it} (?:\w+ )?{_BUILT}",
        rf"how (?:does|do) {it} (?:work|fit together|hang together)",
        rf"what (?:does|is) {it}(?: (?:do|for|about|made of|contain|hold))*",
        rf"what(?: is|'s) (?:in|inside(?: of)?) {it}",
        rf"where (?:do|should|can|would|could) {_ANYBODY} {_BEGIN}(?: (?:in )?(?:{it}|here))?",
        rf"(?:what|which) (?:are|is) (?:the |its )?{_MAIN_PARTS}(?: (?:of|in) {it}| here)?",
        rf"what {_PARTS} (?:does|do) {it} (?:have|consist of|contain)",
        rf"what {_PARTS} (?:are there|is there)(?: in {it})?",
        rf"(?:{_TELL} )?(?:me |us )?(?:the |an? )?{_SHORT}{_PLAN}(?: (?:of|to|for) (?:{it}|the {_PLAN}))?",
        rf"(?:describe|explain|outline|summari[sz]e|introduce|walk me through) (?:me )?{it}",
        rf"(?:the |this )?{_KINDS} {_PLAN}",
    )
    return re.compile(rf"{_OPENING}(?:{'|'.join(sentences)}){_CLOSING}", re.IGNORECASE)


_OF_ALL = _asking(_IT)
# A folder shows itself by a slash, or by the word for one beside its name.
_PATH = r"`?(?:[\w.@-]+(?:/[\w.@-]+)+/?|[\w.@-]+/)`?"
_CALLED = r"(?:folder|directory|package|subpackage)"
_NAMED = r"(?<!\w)`?(?!(?:the|a|an|this|that|our|each|every|which|what|in|of)\b)[\w.@-]+`?"
_FOLDER = rf"(?:the )?(?:(?:{_CALLED} )?(?:{_PATH})(?: {_CALLED})?|{_CALLED} {_NAMED}|{_NAMED} {_CALLED})"
_OF_FOLDER = _asking(_FOLDER)
_FOLDER_NAME = re.compile(
    rf"({_PATH})|\b{_CALLED} ({_NAMED})(?! {_CALLED}\b)|({_NAMED}) {_CALLED}\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class OverviewAsked:
    """A question about the project as a whole, or about one of its folders, as it is written."""

    folder: PurePosixPath | None = None


def overview_asked(question: str) -> OverviewAsked | None:
    """Return what the question wants an overview of; None for one about anything smaller."""
    text = " ".join(question.split())
    if len(text.split()) > _MOST_WORDS:
        return None
    sentences = [sentence for sentence in re.split(r"[.?!;]+(?:\s+|$)", text) if sentence]
    if not sentences:
        return None
    if not any(query_terms(text).names) and all(map(_OF_ALL.fullmatch, sentences)):
        return OverviewAsked()
    if len(sentences) > 1 or not _OF_FOLDER.fullmatch(sentences[0]):
        return None
    named = _FOLDER_NAME.search(sentences[0])
    found = next(filter(None, named.groups()), "") if named else ""
    return OverviewAsked(PurePosixPath(found.strip("`"))) if found else None


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


def main_parts(index: ProjectIndex, folder: PurePosixPath | None = None) -> MainParts:
    """Return what tells most of a project as a whole, or of the folder of that name; nothing without one."""
    sizes = index.sizes() if folder is None else _inside(index.sizes(), folder)
    opening = readme(sizes)
    is_aside = folder is not None and bool(places_of(folder / "_"))  # whoever asks for the tests gets them
    code = {p: size for p, size in sizes.items() if p != opening and (is_aside or not places_of(p))}
    files = main_files(code)
    chunks = index.chunks_of_files([*files, *([opening] if opening else [])])
    return MainParts(chunks[opening] if opening else [], {path: chunks[path] for path in files})


def _inside(sizes: Mapping[PurePosixPath, int], folder: PurePosixPath) -> dict[PurePosixPath, int]:
    """Return the files in the folder whose path ends so, in the one nearest to the root if several do."""
    parts = folder.parts
    folders = {parent for path in sizes for parent in path.parents if parent.parts[-len(parts) :] == parts}
    nearest = min(folders, key=lambda each: (len(each.parts), each), default=None)
    return {path: size for path, size in sizes.items() if nearest in path.parents}


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
