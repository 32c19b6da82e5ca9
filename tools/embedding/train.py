"""Make the table of word vectors from pairs of documentation and code.

    python tools/embedding/train.py --pairs FILE [--pairs ...] --output DIR [--base DIR] [--steps N]

A line of a pairs file is a JSON object: ``package``, ``language``, ``path``, ``symbol``, ``doc``, ``code``.
The first sentence of ``doc`` asks; ``path``, ``symbol`` and ``code`` answer. A text is the weighted sum of
the vectors of its words, of length 1. Training pulls a question towards its own code and away from the rest
of the batch; most batches are of one package, as a search is inside one project.

The vectors start from the words' company in the pairs (a singular value decomposition), with ``--base``
joined with another table (``convert.py``). Every eighth package, by a hash of its name, is never trained on:
the figures are of these. Needs scipy, which the product does not.
"""
# ruff: noqa: INP001, T201  -- a script that prints

import argparse
import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-not-found, import-untyped, unused-ignore]

from coding_assistant.terms import index_terms, query_terms, stem

Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]
Bag: TypeAlias = Any  # a sparse matrix of texts by words; scipy has no types

SHORTEST_PREFIX_CHARACTERS = 4
SHORTEST_PIECE_CHARACTERS = 3
LONGEST_PIECE_CHARACTERS = 20
MOST_PIECES = 3
LONGEST_SPLIT_CHARACTERS = 40

LONGEST_WORD_CHARACTERS = 40
FEWEST_PACKAGES = 3  # that know a word, or it is not learnt
MOST_PAIRS_OF_PACKAGE = 6_000
MOST_BODY_TERMS = 700
MOST_REST_TERMS = 150
MOST_PATH_TERMS = 16

HELD_OUT_SHARE = 8
HELD_OUT_PAIRS = 250  # of a package
HELD_OUT_PACKAGES = 12  # of a language
FEWEST_HELD_OUT_PAIRS = 20

BATCH_PAIRS = 256
SAME_PACKAGE_SHARE = 0.75  # of the batches
FEWEST_PAIRS_OF_PACKAGE = 16
NAME_DROPPED_SHARE = 0.5  # of the questions lose the words of the symbol they ask for
WORD_DROPPED_SHARE = 0.1
REST_SHARE = 0.5  # of the documents keep what their documentation says after its first sentence
HEAD_SHARE = 0.85  # of the documents keep their path and symbol
WINDOW_TERMS = (50, 220)
TEMPERATURE = 0.1  # sharper ones rank documentation better, and newcomers' questions worse
# Faster, or for longer, words drift from where they began, and newcomers' questions suffer.
VECTOR_RATE = 1e-3
WEIGHT_RATE = 5e-3
WARM_UP_STEPS = 50
MEAN_LENGTH = 0.7

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])|\n\s*\n")
_NOT_PROSE = re.compile(
    r"https?://\S+|<[^>]{1,60}>|^\s*[@:\\]\w+.*$|^\s*[-=~*#]{3,}\s*$|[*/]{2,}", re.MULTILINE
)
_SCOPE = re.compile(r"[.:#]+|->")
_FEWEST_SENTENCE_WORDS = 4


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of word numbers, one after the other."""

    values: Integers
    offsets: Integers

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> "Ragged":
        """Join the rows."""
        rows = list(rows)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.fromiter((value for row in rows for value in row), np.int64, int(lengths.sum()))
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]))

    def owners(self) -> Integers:
        """Return the row of every value."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def mapped(self, words: "Ragged") -> "Ragged":
        """Put for each value the row of that number."""
        values, owners = words.take(self.values)
        counts = np.bincount(self.owners()[owners], minlength=len(self.offsets) - 1)
        return Ragged(values, np.concatenate([[0], np.cumsum(counts)]))

    def take(
        self, rows: Integers, starts: Integers | None = None, ends: Integers | None = None
    ) -> tuple[Integers, Integers]:
        """Return the values of the rows, or of a part of each, and for each value the number of its row."""
        begin = self.offsets[rows] + (0 if starts is None else starts)
        end = (
            self.offsets[rows + 1]
            if ends is None
            else np.minimum(self.offsets[rows] + ends, self.offsets[rows + 1])
        )
        lengths = np.maximum(end - begin, 0)
        owners = np.repeat(np.arange(len(rows)), lengths)
        firsts = np.repeat(begin - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        return self.values[firsts + np.arange(len(owners))], owners


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and the code that answers it, in words."""

    package: str
    language: str
    name: str
    query: tuple[str, ...]
    body: tuple[str, ...]
    head: tuple[str, ...]
    rest: tuple[str, ...]

    @classmethod
    def of(cls, entry: Mapping[str, str]) -> "Pair":
        """Split the texts of an entry."""
        first, rest = first_sentence(entry["doc"])
        symbol = entry["symbol"] or ""
        path = index_terms(entry["path"]).split()[-MOST_PATH_TERMS:]
        return cls(
            package=f"{entry['language']}:{entry['package'].lower().replace('_', '-')}",
            language=entry["language"],
            name=index_terms(_SCOPE.split(symbol)[-1]),
            query=query_terms(first).terms[:48],
            body=tuple(index_terms(entry["code"][:9_000]).split()[:MOST_BODY_TERMS]),
            head=(*path, *index_terms(symbol).split()),
            rest=tuple(index_terms(rest[:1_500]).split()[:MOST_REST_TERMS]),
        )

    def texts(self) -> tuple[tuple[str, ...], ...]:
        """Return all that is said in the pair."""
        return self.query, self.body, self.head, self.rest


def first_sentence(documentation: str) -> tuple[str, str]:
    """Return the first sentence, with the second if it is very short, and the others."""
    sentences = [part for part in _SENTENCE_END.split(_NOT_PROSE.sub(" ", documentation)) if part.strip()]
    count = 1
    if len(sentences) > 1 and len(sentences[0].split()) < _FEWEST_SENTENCE_WORDS:
        count = 2
    return " ".join(sentences[:count]), " ".join(sentences[count:])


def read_pairs(files: Iterable[Path], excluded: frozenset[str]) -> Iterator[Pair]:
    """Yield the pairs of packages that are not excluded, none twice and not too many of one package."""
    seen: set[int] = set()
    of_package: Counter[str] = Counter()
    for file in files:
        with file.open() as lines:
            for line in lines:
                entry = json.loads(line)
                if entry["package"].lower().replace("_", "-").rpartition("/")[2] in excluded:
                    continue
                pair = Pair.of(entry)
                key = hash((pair.package, pair.query, pair.name))
                is_usable = len(pair.query) > 1 and len(pair.body) > 3  # noqa: PLR2004  -- less says nothing
                if is_usable and key not in seen and of_package[pair.package] < MOST_PAIRS_OF_PACKAGE:
                    seen.add(key)
                    of_package[pair.package] += 1
                    yield pair


class Vocabulary:
    """The words that have vectors, most widely used first, and what stands in for others."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: number for number, word in enumerate(words)}
        self._stems: dict[str, int] = {}
        for number, word in enumerate(words):
            self._stems.setdefault(stem(word), number)

    def find(self, term: str) -> tuple[int, ...]:
        """Return the word; or one of the same stem; or words that make it up; or its longest beginning."""
        for known in (self._ids.get(term), self._stems.get(stem(term))):
            if known is not None:
                return (known,)
        pieces = self._pieces(term) if len(term) <= LONGEST_SPLIT_CHARACTERS else ()
        if pieces:
            return pieces
        ends = range(len(term) - 1, SHORTEST_PREFIX_CHARACTERS - 1, -1)
        beginning = next((self._ids[term[:end]] for end in ends if term[:end] in self._ids), None)
        return () if beginning is None else (beginning,)

    def _pieces(self, term: str) -> tuple[int, ...]:
        """Return the fewest words that make up the term, if a few do."""
        best: list[tuple[int, ...] | None] = [()] + [None] * len(term)
        for end in range(SHORTEST_PIECE_CHARACTERS, len(term) + 1):
            for start in range(max(0, end - LONGEST_PIECE_CHARACTERS), end - SHORTEST_PIECE_CHARACTERS + 1):
                before, known = best[start], self._ids.get(term[start:end])
                if before is None or known is None:
                    continue
                so_far = best[end]
                if so_far is None or len(before) + 1 < len(so_far):
                    best[end] = (*before, known)
        found = best[-1] or ()
        return found if len(found) <= MOST_PIECES else ()


@dataclass(frozen=True, slots=True)
class Data:
    """All pairs as numbers of words."""

    vocabulary: Vocabulary
    query: Ragged
    body: Ragged
    head: Ragged
    rest: Ragged
    is_name: Ragged  # of each word of the queries: 1 if it is of the symbol's own name
    names: Integers
    packages: Integers
    package_names: list[str]
    document_counts: Integers

    @classmethod
    def read(cls, pairs: Iterable[Pair], words: int) -> "Data":
        """Return the pairs in the words that most packages use."""
        terms: dict[str, int] = {}
        names: dict[str, int] = {}
        packages: dict[str, int] = {}
        known_to: dict[str, set[int]] = {}
        counts: Counter[str] = Counter()
        columns: tuple[list[list[int]], ...] = ([], [], [], [], [])
        rows = []
        for pair in pairs:
            package = packages.setdefault(pair.package, len(packages))
            distinct = {term for text in pair.texts() for term in text}
            counts.update(distinct)
            for term in distinct:
                known_to.setdefault(term, set()).add(package)
            for column, text in zip(columns, (*pair.texts(), pair.name.split()), strict=True):
                column.append([terms.setdefault(term, len(terms)) for term in text])
            rows.append((names.setdefault(pair.name, len(names)), package))
        common = [
            (len(known), counts[term], term)
            for term, known in known_to.items()
            if len(known) >= FEWEST_PACKAGES and len(term) <= LONGEST_WORD_CHARACTERS
        ]
        vocabulary = Vocabulary([term for *_, term in sorted(common, reverse=True)[:words]])
        in_words = Ragged.of(vocabulary.find(term) for term in terms)
        query, body, head, rest, own = (Ragged.of(column).mapped(in_words) for column in columns)
        return cls(
            vocabulary,
            query,
            body,
            head,
            rest,
            is_name=Ragged(np.isin(_keys(query, words), _keys(own, words)).astype(np.int64), query.offsets),
            names=np.array([name for name, _ in rows]),
            packages=np.array([package for _, package in rows]),
            package_names=list(packages),
            document_counts=np.array([counts[word] for word in vocabulary.words]),
        )

    def is_held_out(self) -> NDArray[np.bool_]:
        """Return which packages are never trained on."""
        digests = (
            hashlib.md5(name.partition(":")[2].encode(), usedforsecurity=False) for name in self.package_names
        )
        return np.array([int(digest.hexdigest(), 16) % HELD_OUT_SHARE == 0 for digest in digests])

    def languages(self) -> list[str]:
        """Return the language of each package."""
        return [name.partition(":")[0] for name in self.package_names]

    def rarity(self) -> Floats:
        """Return the inverse document frequency of the words."""
        rarity = np.log((len(self.packages) + 1) / (self.document_counts + 1))
        return np.maximum(rarity, 0.3).astype(np.float32)


def _keys(rows: Ragged, words: int) -> Integers:
    return rows.owners() * words + rows.values


def bags(parts: Sequence[tuple[Integers, Integers]], shape: tuple[int, int]) -> Bag:
    """Return texts as a sparse matrix: for each word the logarithm of one more than its count."""
    keys = np.concatenate([owners * shape[1] + values for values, owners in parts])
    keys, counts = np.unique(keys, return_counts=True)
    values = np.log1p(counts.astype(np.float32))
    starts = np.searchsorted(keys, np.arange(shape[0] + 1) * shape[1])
    return sparse.csr_matrix((values, keys % shape[1], starts), shape=shape)


def unit(vectors: Floats) -> Floats:
    """Return the vectors with length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)


def scaled(bag: Bag, weights: Floats) -> Bag:
    """Return the bag of words with every word weighted."""
    return bag @ sparse.diags(weights)


@dataclass
class Table:
    """What is learnt: vectors, and the logarithms of what words count in questions and in documents."""

    vectors: Floats
    query: Floats
    document: Floats

    def quantised(self) -> tuple[NDArray[np.int8], Floats]:
        """Return the vectors as they are shipped, and the scale of each."""
        scale = np.maximum(np.abs(self.vectors).max(axis=1), 1e-9) / 127
        return np.rint(self.vectors / scale[:, None]).astype(np.int8), scale.astype(np.float32)

    def copy(self) -> "Table":
        """Return another like it."""
        return Table(self.vectors.copy(), self.query.copy(), self.document.copy())

    def save(self, folder: Path, words: Sequence[str]) -> None:
        """Write what the product loads."""
        folder.mkdir(parents=True, exist_ok=True)
        vectors, scale = self.quantised()
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "weights.npy", np.stack([np.exp(self.document) * scale, np.exp(self.query) * scale]))
        (folder / "vocabulary.txt").write_text("\n".join(words) + "\n")


def all_texts(data: Data, rows: Integers) -> Bag:
    """Return question and answer of every pair as one text."""
    parts = [each.take(rows) for each in (data.query, data.head, data.body)]
    return bags(parts, (len(rows), len(data.vocabulary.words)))


def from_company(data: Data, rows: Integers, dimensions: int) -> Floats:
    """Return vectors that put words near that stand in the same pairs."""
    texts = scaled(all_texts(data, rows), data.rarity())
    lengths = np.sqrt(np.asarray(texts.multiply(texts).sum(axis=1)).ravel())
    texts = (sparse.diags(1 / np.maximum(lengths, 1e-9)) @ texts).astype(np.float32)
    random = np.random.default_rng(0)
    basis = texts.T @ (texts @ random.standard_normal((texts.shape[1], dimensions + 20)).astype(np.float32))
    for _ in range(3):
        basis, _ = np.linalg.qr(basis)
        basis = texts.T @ (texts @ basis)
    basis, _ = np.linalg.qr(basis)
    small = texts @ basis
    directions, strengths, _ = np.linalg.svd(small.T @ small)
    vectors = unit((basis @ directions[:, :dimensions]) * strengths[:dimensions] ** 0.25)
    shares = data.document_counts * data.rarity()
    return centred(vectors, shares)


def from_base(data: Data, rows: Integers, base: Path) -> Floats:
    """Return the vectors of another table, and for words it lacks the mean of the texts they stand in."""
    numbers = {word: number for number, word in enumerate((base / "vocabulary.txt").read_text().splitlines())}
    given = np.load(base / "vectors.npy").astype(np.float32)
    given = centred(unit(given))
    found = np.array([numbers.get(word, -1) for word in data.vocabulary.words])
    is_known = found >= 0
    vectors = np.where(is_known[:, None], given[found], 0).astype(np.float32)
    texts = all_texts(data, rows)
    company = unit(scaled(texts, data.rarity()) @ vectors)
    company -= company.mean(axis=0)
    length = np.linalg.norm(vectors[is_known], axis=1).mean()
    vectors[~is_known] = unit(texts.T.tocsr()[np.flatnonzero(~is_known)] @ company) * length * 0.8
    return vectors


def joined(tables: Sequence[Floats], data: Data, dimensions: int) -> Floats:
    """Return one table in which words are near that are near in the given ones."""
    vectors = np.hstack([table / np.linalg.norm(table, axis=1).mean() for table in tables])
    importance = data.document_counts * data.rarity() ** 2 + data.rarity().max()
    spread = vectors * np.sqrt(importance / importance.max())[:, None].astype(np.float32)
    directions, _, _ = np.linalg.svd(spread.T @ spread)
    return np.asarray(vectors @ directions[:, :dimensions], np.float32)


def centred(vectors: Floats, shares: NDArray[Any] | None = None) -> Floats:
    """Return the vectors without their mean: nearly all that words have in common says nothing."""
    return (vectors - np.average(vectors, axis=0, weights=shares)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Packages that are never trained on: the questions, those without the names, and the functions."""

    sets: list[tuple[str, Bag, Bag, Bag]]

    @classmethod
    def of(cls, data: Data) -> "HeldOut":
        """Choose packages of every language."""
        random = np.random.default_rng(0)
        per_language: Counter[str] = Counter()
        languages, is_held_out, words = data.languages(), data.is_held_out(), len(data.vocabulary.words)
        sets = []
        for package in random.permutation(len(languages)):
            rows = np.flatnonzero(data.packages == package) if is_held_out[package] else np.arange(0)
            language = languages[package]
            if len(rows) < FEWEST_HELD_OUT_PAIRS or per_language[language] >= HELD_OUT_PACKAGES:
                continue
            per_language[language] += 1
            rows = random.permutation(rows)[:HELD_OUT_PAIRS]
            values, owners = data.query.take(rows)
            is_name, _ = data.is_name.take(rows)
            kept = keep_two(is_name == 0, owners, len(rows))
            shape = (len(rows), words)
            code = [data.head.take(rows), data.body.take(rows, ends=np.full(len(rows), 250))]
            sets.append(
                (
                    language,
                    bags([(values, owners)], shape),
                    bags([(values[kept], owners[kept])], shape),
                    bags(code, shape),
                )
            )
        return cls(sets)

    def measure(self, table: Table) -> dict[str, tuple[float, float]]:
        """Return for each language the mean reciprocal rank of a function among those of its package."""
        vectors, scale = table.quantised()
        shipped = vectors * scale[:, None]
        scores: dict[str, list[tuple[float, float]]] = {}
        for language, *questions, code in self.sets:
            documents = unit(scaled(code, np.exp(table.document)) @ shipped)
            ranks = []
            for question in questions:
                found = unit(scaled(question, np.exp(table.query)) @ shipped) @ documents.T
                ranks.append(float((1 / ((found > np.diag(found)[:, None]).sum(axis=1) + 1)).mean()))
            scores.setdefault(language, []).append((ranks[0], ranks[1]))
        return {
            language: (
                float(np.mean([each[0] for each in ranks])),
                float(np.mean([each[1] for each in ranks])),
            )
            for language, ranks in sorted(scores.items())
        }


def keep_two(kept: NDArray[np.bool_], owners: Integers, rows: int) -> NDArray[np.bool_]:
    """Return what is kept, and everything where that were fewer than two words."""
    counts = np.bincount(owners[kept], minlength=rows)
    return kept | (counts < 2)[owners]  # noqa: PLR2004


@dataclass
class Sampler:
    """Draws batches of pairs."""

    data: Data
    random: np.random.Generator
    _rows: Integers = field(init=False)
    _bounds: Integers = field(init=False)
    _packages: Integers = field(init=False)
    _chances: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        data = self.data
        sizes = np.bincount(data.packages, minlength=len(data.package_names))
        self._rows = np.argsort(data.packages, kind="stable")
        self._bounds = np.concatenate([[0], np.cumsum(sizes)])
        self._packages = np.flatnonzero((sizes >= FEWEST_PAIRS_OF_PACKAGE) & ~data.is_held_out())
        chances = sizes[self._packages] ** 0.75
        languages = np.array(data.languages())[self._packages]
        # A language with ten times the pairs comes three times as often.
        for language in np.unique(languages):
            chances[languages == language] /= math.sqrt(chances[languages == language].sum())
        self._chances = chances / chances.sum()

    def rows(self) -> Integers:
        """Return the pairs of a batch."""
        if self.random.random() >= SAME_PACKAGE_SHARE:
            packages = self.random.choice(self._packages, BATCH_PAIRS, p=self._chances)
            first, end = self._bounds[packages], self._bounds[packages + 1]
            return np.asarray(self._rows[self.random.integers(first, end)])
        chosen: list[Integers] = []
        left = BATCH_PAIRS
        for package in self.random.choice(self._packages, 6, p=self._chances, replace=False):
            rows = self._rows[self._bounds[package] : self._bounds[package + 1]]
            chosen.append(self.random.choice(rows, min(left, len(rows)), replace=False))
            left -= len(chosen[-1])
            if not left:
                break
        return np.concatenate(chosen)

    def texts(self, rows: Integers) -> tuple[Bag, Bag]:
        """Return the pairs' questions and documents as a newcomer and a chunker would have them."""
        data, random, count = self.data, self.random, len(rows)
        shape = (count, len(data.vocabulary.words))
        values, owners = data.query.take(rows)
        is_name, _ = data.is_name.take(rows)
        is_nameless = random.random(count) < NAME_DROPPED_SHARE
        kept = keep_two(~(is_name.astype(bool) & is_nameless[owners]), owners, count)
        kept = keep_two(kept & (random.random(len(owners)) >= WORD_DROPPED_SHARE), owners, count)
        lengths = data.body.offsets[rows + 1] - data.body.offsets[rows]
        windows = random.integers(*WINDOW_TERMS, count)
        starts = random.integers(0, np.maximum(lengths - windows, 0) + 1) * (random.random(count) < 0.6)  # noqa: PLR2004
        body = data.body.take(rows, starts, starts + windows)
        head = data.head.take(rows, ends=np.where(random.random(count) < HEAD_SHARE, 10**6, 0))
        rest = data.rest.take(rows, ends=np.where(random.random(count) < REST_SHARE, 10**6, 0))
        return bags([(values[kept], owners[kept])], shape), bags([body, head, rest], shape)


class Steps:
    """Adam, but for one second moment a row, and none of what is not in the batch."""

    def __init__(self, parameters: Floats, rate: float) -> None:
        self._parameters = parameters
        self._rate = rate
        self._squares = np.zeros(len(parameters), np.float32)
        self._times = np.zeros(len(parameters), np.float32)

    def step(self, rows: Integers, gradient: Floats, share: float) -> None:
        """Go down the gradient by a share of the rate."""
        squares = (
            gradient**2
            if gradient.ndim == 1
            else np.einsum("ij,ij->i", gradient, gradient) / gradient.shape[1]
        )
        self._times[rows] += 1
        self._squares[rows] = 0.98 * self._squares[rows] + 0.02 * squares
        root = np.sqrt(self._squares[rows] / (1 - 0.98 ** self._times[rows])) + 1e-8
        factor = self._rate * share / root
        self._parameters[rows] -= gradient * (factor if gradient.ndim == 1 else factor[:, None])


@dataclass
class Side:
    """The questions or the documents of a batch, of which gradients are wanted."""

    bag: Bag
    words: Integers
    table: Floats
    lengths: Floats
    units: Floats

    @classmethod
    def of(cls, bag: Bag, vectors: Floats, weights: Floats) -> "Side":
        """Embed the texts."""
        words, columns = np.unique(bag.indices, return_inverse=True)
        values = bag.data * np.exp(weights[words])[columns]
        bag = sparse.csr_matrix((values, columns, bag.indptr), shape=(bag.shape[0], len(words)))
        table = vectors[words]
        sums = bag @ table
        lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
        return cls(bag, words, table, lengths, sums / lengths)

    def gradient(self, of_units: Floats) -> Floats:
        """Return the gradient of the words' vectors."""
        along = (of_units * self.units).sum(axis=1, keepdims=True) * self.units
        return np.asarray(self.bag.T @ ((of_units - along) / self.lengths))


def contrast(queries: Floats, documents: Floats, is_same: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Return the loss and its gradient by the products: question to document and back, in equal parts."""
    count = len(queries)
    scores = queries @ documents.T / TEMPERATURE
    scores[is_same] = -1e4
    own = np.arange(count)
    by_query = np.exp(scores - scores.max(axis=1, keepdims=True))
    by_query /= by_query.sum(axis=1, keepdims=True)
    by_document = np.exp(scores - scores.max(axis=0, keepdims=True))
    by_document /= by_document.sum(axis=0, keepdims=True)
    loss = -float(np.log(np.maximum(by_query[own, own], 1e-12)).mean())
    gradient = (by_query + by_document) / 2
    gradient[own, own] -= 1
    return loss, (gradient / (count * TEMPERATURE)).astype(np.float32)


def train(data: Data, table: Table, steps: int, report: Callable[[int, float, Table], None]) -> None:
    """Refine the table in place."""
    sampler = Sampler(data, np.random.default_rng(0))
    of_vectors = Steps(table.vectors, VECTOR_RATE)
    of_query, of_document = Steps(table.query, WEIGHT_RATE), Steps(table.document, WEIGHT_RATE)
    mean_loss = math.nan
    for step in range(steps):
        share = min(1.0, 1.2 * (1 - step / steps)) * min(1.0, (step + 1) / WARM_UP_STEPS)
        rows = sampler.rows()
        query_bag, document_bag = sampler.texts(rows)
        query = Side.of(query_bag, table.vectors, table.query)
        document = Side.of(document_bag, table.vectors, table.document)
        names, packages = data.names[rows], data.packages[rows]
        is_same = (names[:, None] == names) & (packages[:, None] == packages)
        np.fill_diagonal(is_same, val=False)
        loss, gradient = contrast(query.units, document.units, is_same)
        mean_loss = loss if step == 0 else 0.99 * mean_loss + 0.01 * loss
        by_query = query.gradient(gradient @ document.units)
        by_document = document.gradient(gradient.T @ query.units)
        of_query.step(query.words, (by_query * query.table).sum(axis=1), share)
        of_document.step(document.words, (by_document * document.table).sum(axis=1), share)
        words = np.union1d(query.words, document.words)
        together = np.zeros((len(words), table.vectors.shape[1]), np.float32)
        together[np.searchsorted(words, query.words)] += by_query
        together[np.searchsorted(words, document.words)] += by_document
        of_vectors.step(words, together, share)
        report(step + 1, mean_loss, table)


def main() -> None:
    """Read the pairs, train, and write the table whenever it is the best so far."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, action="append", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="a table that the start is joined with")
    parser.add_argument("--excluded", type=Path, help="a file of packages never to train on, one a line")
    parser.add_argument("--words", type=int, default=40_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--report", type=int, default=1_000, help="measure after so many steps")
    arguments = parser.parse_args()
    excluded = frozenset(arguments.excluded.read_text().split() if arguments.excluded else ())
    data = Data.read(read_pairs(arguments.pairs, excluded), arguments.words)
    words = data.vocabulary.words
    print(f"{len(data.packages)} pairs of {len(data.package_names)} packages, {len(words)} words", flush=True)
    rows = np.flatnonzero(~data.is_held_out()[data.packages])
    vectors = from_company(data, rows, arguments.dimensions)
    if arguments.base:
        vectors = joined([vectors, from_base(data, rows, arguments.base)], data, arguments.dimensions)
    vectors *= MEAN_LENGTH / np.linalg.norm(vectors, axis=1).mean()
    weights = np.log(data.rarity())
    table = Table(vectors, weights.copy(), weights.copy())
    held_out = HeldOut.of(data)
    started = time.monotonic()
    best = 0.0

    def report(step: int, loss: float, table: Table) -> None:
        nonlocal best
        if step % arguments.report and step != arguments.steps:
            return
        scores = held_out.measure(table)
        full, nameless = (float(np.mean([each[i] for each in scores.values()])) for i in (0, 1))
        by_language = " ".join(f"{name} {each[0]:.3f}/{each[1]:.3f}" for name, each in scores.items())
        print(
            f"{time.monotonic() - started:.0f} s, step {step}, loss {loss:.3f}, MRR {full:.4f}, "
            f"without names {nameless:.4f}; {by_language}",
            flush=True,
        )
        if full + nameless > best:
            best = full + nameless
            table.save(arguments.output, words)

    report(0, math.nan, table)
    train(data, table, arguments.steps, report)


if __name__ == "__main__":
    main()
