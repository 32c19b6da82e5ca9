"""From what matched to what to show: pure functions over candidates, with the numbers that weigh them.

Each constant names what set it; the experiments, with those that failed, are in docs/retrieval-log.md.
Which file answers (a list to choose from) and which lines answer (sources for a model to read) are two
questions with two sets of weights. Where candidates come from is not known here.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from pathlib import PurePosixPath
from types import MappingProxyType

from coding_assistant.domain import Chunk, Hit
from coding_assistant.terms import QueryTerms, index_terms, joined_name, stem


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk, and how well its words and its vector match: 1 for the best of each, 0 for no match."""

    chunk: Chunk
    text: float
    vector: float = 0.0
    named: float = 0.0  # 1 if the question names a line of it, less if it names the file

    @property
    def relevance(self) -> float:
        """What the chunk itself says, whatever its name and place.

        Words and vectors count alike: 0.6 to 1.6 times as much for vectors gives the same ("Vectors").
        """
        return self.text + self.vector


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


def rank(terms: QueryTerms, candidates: Sequence[Candidate], *, weights: Weights) -> list[Hit]:
    """Return the candidates as hits, best first."""
    names = [_SEGMENT.findall(name) for name in terms.names]
    best = max((candidate.relevance for candidate in candidates), default=0.0) or 1.0
    coherence = _coherence(candidates)
    files = {candidate.chunk.path for candidate in candidates}
    built = _built_copies(files)
    asked = _AskedWords.of(terms)
    paths = {path: _PathEvidence.of(asked, path, is_built=path in built) for path in files}
    hits = []
    for position, candidate in enumerate(candidates):
        chunk = candidate.chunk
        path = paths[chunk.path]
        evidence = {
            "text": candidate.text / best,
            "vector": candidate.vector / best,
            "definition": weights.definition * _definition(names, chunk),
            "path": weights.path * path.share,
            "file": weights.coherence * coherence.get(position, 0.0),
            "named": weights.named * candidate.named,
        }
        hits.append(_hit(chunk, evidence, factor=1.0 if candidate.named else path.factor))
    return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.path, hit.chunk.start_line))


def one_per_file_first(hits: Iterable[Hit]) -> list[Hit]:
    """Return the hits so that every file's best comes before any file's second, and so on."""
    seen: Counter[PurePosixPath] = Counter()
    numbered = []
    for hit in hits:
        numbered.append((seen[hit.chunk.path], hit))
        seen[hit.chunk.path] += 1
    return [hit for _, hit in sorted(numbered, key=itemgetter(0))]


def other_files_forward(hits: Sequence[Hit]) -> list[Hit]:
    """Return sources so that after the best dozen, files that were not shown come before more of the same."""
    seen = Counter(hit.chunk.path for hit in hits[:_BEST_SOURCES])
    rest = []
    for hit in hits[_BEST_SOURCES:]:
        repeats = min(seen[hit.chunk.path], _MOST_REPEATS)
        seen[hit.chunk.path] += 1
        rest.append(_lessened(hit, "shown before", factor=_REPEATED_FILE_FACTOR**repeats))
    return [*hits[:_BEST_SOURCES], *sorted(rest, key=lambda hit: -hit.score)]


def _lessened(hit: Hit, reason: str, *, factor: float) -> Hit:
    """Return the hit with a factor of its score; what is taken away stands under the reason."""
    if factor == 1.0:
        return hit
    return replace(hit, score=hit.score * factor, why={**hit.why, reason: hit.score * (factor - 1)})


def _hit(chunk: Chunk, evidence: Mapping[str, float], *, factor: float) -> Hit:
    """Return the hit whose ``why`` adds up: what its place takes away is a part like the others."""
    relevance = sum(evidence.values())
    why = {**evidence, "place": relevance * (factor - 1)}
    return Hit(chunk, sum(why.values()), {name: part for name, part in why.items() if part})


def _coherence(candidates: Sequence[Candidate]) -> dict[int, float]:
    """Return how much of the query each file answers (0 to 1), by the position of its best chunk."""
    of_file: defaultdict[PurePosixPath, list[int]] = defaultdict(list)
    for position, candidate in enumerate(candidates):
        of_file[candidate.chunk.path].append(position)
    totals = {
        path: math.fsum(candidates[position].relevance for position in positions)
        for path, positions in of_file.items()
    }
    largest = max(totals.values(), default=0.0) or 1.0

    def relevance_then_line(position: int) -> tuple[float, int]:
        return candidates[position].relevance, -candidates[position].chunk.start_line

    return {
        max(positions, key=relevance_then_line): totals[path] / largest for path, positions in of_file.items()
    }


def _definition(names: Iterable[Sequence[str]], chunk: Chunk) -> float:
    """Return how surely the chunk defines one of the names: 1 for the very name, 0 for another."""
    if chunk.symbol is None:
        return 0.0
    symbol = _SEGMENT.findall(_TYPE_ARGUMENTS.sub("", chunk.symbol))
    return max((_likeness(name, symbol) for name in names), default=0.0)


def _likeness(name: Sequence[str], symbol: Sequence[str]) -> float:
    if len(name) > len(symbol):
        return 0.0
    end = symbol[-len(name) :]
    if end == name:
        return 1.0 if len(symbol) == len(name) else NESTED_DEFINITION
    is_alike = list(map(joined_name, end)) == list(map(joined_name, name))
    return OTHER_CASE_DEFINITION if is_alike else 0.0


@dataclass(frozen=True, slots=True)
class _PathEvidence:
    """What a file's path says about it, whatever its chunks say."""

    share: float  # of the query's words that the file's name or its folders' names hold
    factor: float  # what its place leaves of a score

    @classmethod
    def of(cls, asked: "_AskedWords", path: PurePosixPath, *, is_built: bool) -> "_PathEvidence":
        alike = {word for name in _names_of(path.as_posix()) for word in asked.like(name)}
        places = places_of(path) | ({Place.BUILT} if is_built else set())
        unasked = (place for place in places if _ASKING[place].isdisjoint(asked.written))
        return cls(
            share=len(alike) / len(asked.stems) if asked.stems else 0.0,
            factor=min((PLACE_FACTORS[place] for place in unasked), default=1.0),
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

    def like(self, name: str) -> Iterator[str]:
        """Yield the words that equal a name, begin with it, or that it begins with."""
        if name in self.stems:
            yield name
        if len(name) >= _SHORTEST_PREFIX_CHARACTERS:
            for word in self.by_start.get(name[:_SHORTEST_PREFIX_CHARACTERS], ()):
                if word.startswith(name) or name.startswith(word):
                    yield word


@lru_cache(maxsize=20_000)  # the paths of one project come again with every search
def _names_of(path: str) -> frozenset[str]:
    return frozenset(map(stem, index_terms(path).split()))


def places_of(path: PurePosixPath) -> set[Place]:
    """Return the kinds of places, of those that seldom answer, in which a file lies."""
    folders = {part.lower().strip("_") for part in path.parent.parts}
    return {place for place, names in _FOLDERS.items() if names & folders} | {
        place for place, pattern in _FILES.items() if pattern.fullmatch(path.name)
    }


def _built_copies(paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    """Return the files that a compiler made of others among these."""
    originals = {_module(path, _BUILT_FROM) for path in paths if _is_original(path)}
    return {
        path
        for path in paths
        if _BUILT_ENDING.search(path.name) and _module(path, _BUILT_ENDING) in originals
    }


def _is_original(path: PurePosixPath) -> bool:
    return bool(_BUILT_FROM.search(path.name)) and not _BUILT_ENDING.search(path.name)


def _module(path: PurePosixPath, ending: re.Pattern[str]) -> tuple[str, ...]:
    """Return what a file and its built copies have in common."""
    folders = (part for part in path.parent.parts if part not in _BUILD_FOLDERS)
    return (*folders, ending.sub("", path.name))
