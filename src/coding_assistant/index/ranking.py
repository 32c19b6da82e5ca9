"""From what matched to what to show: pure functions over candidates, with the numbers that weigh them.

Each constant names what set it; the experiments, with those that failed, are in docs/retrieval-log.md.
Which file answers (a list to choose from) and which lines answer (sources for a model to read) are two
questions with two sets of weights. Where candidates come from is not known here.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple, Self

from coding_assistant.index.scored import ChunkHead
from coding_assistant.terms import QueryTerms, index_terms, joined_name, stem


class Candidate(NamedTuple):
    """A chunk, and how well its words and its vector match: 1 for the best of each, 0 for no match."""

    head: ChunkHead
    text: float
    vector: float = 0.0
    named: float = 0.0  # 1 if the question names a line of it, less if it names the file

    @property
    def relevance(self) -> float:
        """What the chunk itself says, whatever its name and place.

        Words and vectors count alike: 0.6 to 1.6 times as much for vectors gives the same ("Vectors").
        """
        return self.text + self.vector


class Ranked(NamedTuple):
    """A chunk with its score, and in ``why`` what adds up to it; some parts may be 0.

    Of an excerpt the head tells which of the chunk's lines it has. It leaves the chunk's context out: that
    cost 4 points of gold lines, and the symbol names it too.
    """

    head: ChunkHead
    score: float
    why: Mapping[str, float]
    is_excerpt: bool = False


@dataclass(frozen=True, slots=True)
class Weights:
    """What each kind of evidence adds at most, where the best relevance is 1."""

    definition: float
    path: float
    coherence: float
    named: float = 2.0  # whoever pastes a stack trace means its lines, whatever else is like them


# Round values in the middle of plateaus: half or double of one moves figures by about a point ("Weights").
FILE_WEIGHTS = Weights(definition=1.0, path=0.75, coherence=0.3)
SOURCE_WEIGHTS = Weights(definition=0.5, path=0.2, coherence=0.1)

# A method "request" is a weaker answer to "request" than a function of that name, and to "Request" weaker
# still. Without the two, queries for a name lose up to 1 point ("Names and definitions").
NESTED_DEFINITION = 0.8
OTHER_CASE_DEFINITION = 0.5


class Place(StrEnum):
    """A kind of place in a project that seldom answers a question."""

    TEST = "test"
    DOCUMENT = "document"
    VENDORED = "vendored"
    BUILT = "built"
    DECLARATIONS = "declarations"


# What is left of a score there; without one of the first four, whole projects lose 7, 7, 2 and 3 points; the
# last is worth half a point ("Places").
PLACE_FACTORS = MappingProxyType(
    {
        Place.TEST: 0.3,
        Place.DOCUMENT: 0.3,
        Place.VENDORED: 0.3,
        Place.BUILT: 0.3,
        Place.DECLARATIONS: 0.7,
    }
)

# Words that ask for a place: its chunks then lose nothing. Not "test" nor "example": who asks how the test
# client works, or gives an example, means the code, and these words cost 10 points of SWE-QA's first ranks.
_ASKING = MappingProxyType(
    {
        Place.TEST: frozenset({"tests", "tested", "untested", "unittest", "pytest"}),
        Place.DOCUMENT: frozenset({"readme", "changelog", "docs", "documentation", "tutorial", "examples"}),
        Place.VENDORED: frozenset({"vendored"}),
        Place.BUILT: frozenset({"built", "compiled", "bundle"}),
        Place.DECLARATIONS: frozenset({"declarations", "typings"}),
    }
)
_FOLDERS = MappingProxyType(
    {
        Place.TEST: frozenset({"test", "tests", "testing", "spec", "specs", "testdata", "fixtures", "e2e"}),
        Place.DOCUMENT: frozenset(
            {
                "doc",
                "docs",
                "docs_src",
                "documentation",
                "example",
                "examples",
                "sample",
                "samples",
                "tutorials",
            }
        ),
        Place.VENDORED: frozenset(
            {"vendor", "vendored", "third_party", "thirdparty", "node_modules", "dist", "external"}
        ),
    }
)
_FILES = MappingProxyType(
    {
        Place.TEST: re.compile(r"(test_.*|.*(_test|_spec|\.test|\.spec)|.+Tests?|conftest)\.\w+"),
        Place.DOCUMENT: re.compile(
            r"(?!CMakeLists|requirements).*\.(md|markdown|rst|adoc|txt)"
            r"|README|CHANGES|CHANGELOG|HISTORY|NEWS|PKG-INFO|LICENSE|COPYING|AUTHORS",
            re.IGNORECASE,
        ),
        Place.DECLARATIONS: re.compile(r".+\.d\.[cm]?ts|.+\.pyi"),
    }
)

# JavaScript beside the TypeScript that it was made from, whichever folders a build puts the one or the other.
_BUILT_ENDING = re.compile(r"(\.min)?\.[cm]?js$|\.d\.[cm]?ts$")
_BUILT_FROM = re.compile(r"\.tsx?$")
_BUILD_FOLDERS = frozenset({"src", "source", "lib", "dist", "build", "out", "esm", "cjs"})

# The first so many sources are a thousand tokens: there the best lines count, of whatever file. Within 2,000
# .971 and .952 of the files are found, not .950 and .938, for half a point of lines ("Excerpts").
_BEST_SOURCES = 12
_REPEATED_FILE_FACTOR = 0.9
_MOST_REPEATS = 3

_TYPE_ARGUMENTS = re.compile(r"<.*>")
_SEGMENT = re.compile(r"\w+")
_SHORTEST_PREFIX_CHARACTERS = 4  # below that, "re" would be found in "requests"

_MOST_REMEMBERED = 10_000  # paths, and as many symbols: 2 kB each at most


def rank(terms: QueryTerms, candidates: Sequence[Candidate], *, weights: Weights) -> list[Ranked]:
    """Return the candidates, best first."""
    names = [_Name.of(name) for name in terms.names]
    best = max((candidate.relevance for candidate in candidates), default=0.0) or 1.0
    coherence = _coherence(candidates)
    paths = _evidence_of_paths(terms, {candidate.head.path for candidate in candidates})
    ranked = []
    for position, candidate in enumerate(candidates):
        path = paths[candidate.head.path]
        evidence = {
            "text": candidate.text / best,
            "vector": candidate.vector / best,
            "definition": weights.definition * _definition(names, candidate.head.symbol),
            "path": weights.path * path.share,
            "file": weights.coherence * coherence.get(position, 0.0),
            "named": weights.named * candidate.named,
        }
        factor = 1.0 if candidate.named else path.factor
        # What its place takes away is a part like the others.
        evidence["place"] = sum(evidence.values()) * (factor - 1)
        ranked.append(Ranked(candidate.head, sum(evidence.values()), evidence))
    return sorted(ranked, key=by_score)


def by_score(ranked: Ranked) -> tuple[float, str, int]:
    """Order what is ranked: the best first, equals by their places."""
    return -ranked.score, ranked.head.path, ranked.head.start_line


def one_per_file_first(ranked: Iterable[Ranked]) -> list[Ranked]:
    """Return what is ranked so that every file's best comes before any file's second, and so on."""
    seen: Counter[str] = Counter()
    numbered = []
    for each in ranked:
        numbered.append((seen[each.head.path], each))
        seen[each.head.path] += 1
    return [each for _, each in sorted(numbered, key=itemgetter(0))]


def other_files_forward(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Return sources so that after the best dozen, files that were not shown come before more of the same."""
    seen = Counter(each.head.path for each in ranked[:_BEST_SOURCES])
    rest = []
    for each in ranked[_BEST_SOURCES:]:
        repeats = min(seen[each.head.path], _MOST_REPEATS)
        seen[each.head.path] += 1
        rest.append(_lessened(each, "shown before", factor=_REPEATED_FILE_FACTOR**repeats))
    return [*ranked[:_BEST_SOURCES], *sorted(rest, key=lambda each: -each.score)]


def _lessened(ranked: Ranked, reason: str, *, factor: float) -> Ranked:
    """Return it with a factor of its score; what is taken away stands under the reason."""
    if factor == 1.0:
        return ranked
    why = {**ranked.why, reason: ranked.score * (factor - 1)}
    return Ranked(ranked.head, ranked.score * factor, why, is_excerpt=ranked.is_excerpt)


def _coherence(candidates: Sequence[Candidate]) -> dict[int, float]:
    """Return how much of the query each file answers (0 to 1), by the position of its best chunk."""
    of_file: defaultdict[str, list[int]] = defaultdict(list)
    for position, candidate in enumerate(candidates):
        of_file[candidate.head.path].append(position)
    totals = {
        path: math.fsum(candidates[position].relevance for position in positions)
        for path, positions in of_file.items()
    }
    largest = max(totals.values(), default=0.0) or 1.0

    def relevance_then_line(position: int) -> tuple[float, int]:
        return candidates[position].relevance, -candidates[position].head.start_line

    return {
        max(positions, key=relevance_then_line): totals[path] / largest for path, positions in of_file.items()
    }


@dataclass(frozen=True, slots=True)
class _Name:
    """The segments of a dotted name, as they are written and as they are indexed."""

    written: tuple[str, ...]
    joined: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> Self:
        written = tuple(_SEGMENT.findall(name))
        return cls(written, tuple(map(joined_name, written)))

    def likeness(self, symbol: "_Name") -> float:
        """Return how surely a symbol is what is named: 1 for the very name, 0 for another."""
        length = len(self.joined)
        if symbol.joined[-length:] != self.joined:
            return 0.0
        if symbol.written[-length:] != self.written:
            return OTHER_CASE_DEFINITION
        return 1.0 if len(symbol.written) == length else NESTED_DEFINITION


def _definition(names: Sequence[_Name], symbol: str | None) -> float:
    """Return how surely what is called so defines one of the names."""
    if symbol is None or not names:
        return 0.0
    own = _name_of(symbol)
    return max(name.likeness(own) for name in names)


@lru_cache(maxsize=_MOST_REMEMBERED)  # the symbols and paths of one project come again with every search
def _name_of(symbol: str) -> _Name:
    return _Name.of(_TYPE_ARGUMENTS.sub("", symbol))


@dataclass(frozen=True, slots=True)
class _PathEvidence:
    """What a file's path says about it, whatever its chunks say."""

    share: float  # of the query's words that the file's name or its folders' names hold
    factor: float  # what its place leaves of a score

    @classmethod
    def of(cls, asked: "_AskedWords", path: "_Path", *, is_built: bool) -> Self:
        places = path.places | {Place.BUILT} if is_built else path.places
        unasked = (place for place in places if _ASKING[place].isdisjoint(asked.written))
        return cls(
            share=len(asked.like(path)) / len(asked.stems) if asked.stems else 0.0,
            factor=min((PLACE_FACTORS[place] for place in unasked), default=1.0),
        )


def _evidence_of_paths(terms: QueryTerms, paths: Iterable[str]) -> dict[str, _PathEvidence]:
    asked = _AskedWords.of(terms)
    known = {path: _path_of(path) for path in paths}
    originals = {path.original for path in known.values()} - {None}
    return {
        written: _PathEvidence.of(asked, path, is_built=path.copy_of in originals)
        for written, path in known.items()
    }


@dataclass(frozen=True, slots=True)
class _Path:
    """What is to be known of a path, whatever is asked.

    A file that others may be built of has an ``original`` name, and one that may be built has the same name
    in ``copy_of``.
    """

    names: frozenset[str]
    starts: frozenset[str]  # of the names, as many characters as two words must share to be alike
    places: frozenset[Place]
    original: tuple[str, ...] | None
    copy_of: tuple[str, ...] | None


@lru_cache(maxsize=_MOST_REMEMBERED)
def _path_of(written: str) -> _Path:
    path = PurePosixPath(written)
    names = frozenset(map(stem, index_terms(written).split()))
    long_names = (name for name in names if len(name) >= _SHORTEST_PREFIX_CHARACTERS)
    is_built = bool(_BUILT_ENDING.search(path.name))
    is_original = not is_built and bool(_BUILT_FROM.search(path.name))
    return _Path(
        names,
        frozenset(name[:_SHORTEST_PREFIX_CHARACTERS] for name in long_names),
        frozenset(places_of(path)),
        original=_module(path, _BUILT_FROM) if is_original else None,
        copy_of=_module(path, _BUILT_ENDING) if is_built else None,
    )


@dataclass(frozen=True, slots=True)
class _AskedWords:
    """The query's words, to be compared with the names in hundreds of paths."""

    written: Sequence[str]
    stems: frozenset[str]
    by_start: Mapping[str, Sequence[str]]  # what two words must share for one to begin with the other

    @classmethod
    def of(cls, terms: QueryTerms) -> "_AskedWords":
        stems = frozenset(map(stem, terms.words))
        by_start: defaultdict[str, list[str]] = defaultdict(list)
        for word in stems:
            if len(word) >= _SHORTEST_PREFIX_CHARACTERS:
                by_start[word[:_SHORTEST_PREFIX_CHARACTERS]].append(word)
        return cls(terms.words, stems, by_start)

    def like(self, path: _Path) -> set[str]:
        """Return the words that equal one of the path's names, begin with it, or that it begins with."""
        alike = set(self.stems & path.names)
        for start in self.by_start.keys() & path.starts:
            names = [name for name in path.names if name.startswith(start)]
            alike.update(
                word
                for word in self.by_start[start]
                if any(word.startswith(name) or name.startswith(word) for name in names)
            )
        return alike


def places_of(path: PurePosixPath) -> set[Place]:
    """Return the kinds of places, of those that seldom answer, in which a file lies."""
    folders = {part.lower().strip("_") for part in path.parent.parts}
    return {place for place, names in _FOLDERS.items() if names & folders} | {
        place for place, pattern in _FILES.items() if pattern.fullmatch(path.name)
    }


def _module(path: PurePosixPath, ending: re.Pattern[str]) -> tuple[str, ...]:
    """Return what a file and its built copies have in common."""
    folders = (part for part in path.parent.parts if part not in _BUILD_FOLDERS)
    return (*folders, ending.sub("", path.name))
