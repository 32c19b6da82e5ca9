"""How well search finds the files and the lines that answer, beside plain BM25 over the same chunks.

    python bench/retrieval.py --corpus DIR --questions FILE [--package NAME] [--corpus ...]

FILE holds one of two kinds of questions. Semble's annotations (a JSON list: ``query``, ``relevant``,
``secondary``, ``category``) are scored by NDCG@10 over files. Answers with gold lines (one JSON object a
line: ``question``, ``gold``, ``kind``, ``package``) are scored by the share of gold within so many tokens of
sources; ``--package``, once for each corpus, keeps the answers of that package.

Paths match by their ends. Questions whose gold files are not all in the corpus are left out and counted. The
few line ranges of the annotations are ignored: a release has not the lines of the pinned revision.
As semble does it, relevant and secondary count alike, and a file's rank is that of its first chunk; "by file"
counts each file once. A token is taken as 3.5 characters. "spans" is the share of questions of which every
gold span is touched, "lines" the mean share of gold lines shown; a chunk that does not fit is passed by.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coding_assistant.domain import Chunk, IndexFinished
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.search import find_sources, search
from coding_assistant.index.store import ColumnWeights, ProjectIndex
from coding_assistant.index.tokens import query_terms

RANKS = 10
BUDGETS_TOKENS = (500, 1_000, 2_000, 4_000)
CHARACTERS_PER_TOKEN = 3.5
SOURCES = 100  # more than any budget holds

Search = Callable[[ProjectIndex, str, int], Sequence[Chunk]]


@dataclass(frozen=True, slots=True)
class Target:
    """A file, or lines of it, that answer a question."""

    path: PurePosixPath
    start_line: int = 1
    end_line: int = 10**9

    def holds(self, chunk: Chunk) -> bool:
        """Return whether the chunk shows any of it."""
        return (
            is_suffix(self.path, chunk.path)
            and chunk.start_line <= self.end_line
            and chunk.end_line >= self.start_line
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A question, what answers it, and of what kind it is."""

    text: str
    category: str
    targets: tuple[Target, ...]
    has_gold_lines: bool


def by_text_search(index: ProjectIndex, query: str, limit: int) -> Sequence[Chunk]:
    """Search as a result list does."""
    return [hit.chunk for hit in search(index, query, limit=limit)]


def by_sources(index: ProjectIndex, query: str, limit: int) -> Sequence[Chunk]:
    """Search as an answer does."""
    return [hit.chunk for hit in find_sources(index, query, limit=limit)]


def by_plain_bm25(index: ProjectIndex, query: str, limit: int) -> Sequence[Chunk]:
    """Search the same chunks by BM25 alone, every column alike."""
    matches = index.match(query_terms(query), weights=ColumnWeights(1.0, 1.0, 1.0), limit=limit)
    return [match.chunk for match in matches]


def is_suffix(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Return whether one of the paths ends with the other."""
    return all(a == b for a, b in zip(reversed(one.parts), reversed(other.parts), strict=False))


def read_questions(file: Path, package: str | None) -> list[Question]:
    """Read questions of either format."""
    text = file.read_text()
    if text.lstrip().startswith("["):
        return [
            Question(
                entry["query"],
                entry["category"],
                tuple(_target(target) for target in (*entry["relevant"], *entry["secondary"])),
                has_gold_lines=False,
            )
            for entry in json.loads(text)
        ]
    entries = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [
        Question(
            entry["question"],
            entry["kind"],
            tuple(Target(PurePosixPath(gold["path"]), gold["start"], gold["end"]) for gold in entry["gold"]),
            has_gold_lines=True,
        )
        for entry in entries
        if entry["gold"] and package in (None, entry["package"])
    ]


def _target(entry: str | dict[str, str | int]) -> Target:
    return Target(PurePosixPath(entry if isinstance(entry, str) else str(entry["path"])))


def ndcg(chunks: Sequence[Chunk], targets: Sequence[Target]) -> float:
    """Return NDCG at ``RANKS`` with binary gain."""
    gain = 0.0
    for target in targets:
        ranks = (rank for rank, chunk in enumerate(chunks[:RANKS], start=1) if target.holds(chunk))
        first = next(ranks, None)
        gain += 0.0 if first is None else 1 / math.log2(first + 1)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(targets), RANKS) + 1))
    return gain / ideal


def one_per_file(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Return the first chunk of each file."""
    first: dict[PurePosixPath, Chunk] = {}
    for chunk in chunks:
        first.setdefault(chunk.path, chunk)
    return list(first.values())


def within(chunks: Iterable[Chunk], budget_tokens: int) -> list[Chunk]:
    """Return the chunks that are shown when every one that still fits is taken in turn."""
    left = budget_tokens * CHARACTERS_PER_TOKEN
    shown = []
    for chunk in chunks:
        if len(chunk.text) <= left:
            left -= len(chunk.text)
            shown.append(chunk)
    return shown


def gold_lines_shown(shown: Sequence[Chunk], targets: Sequence[Target]) -> float:
    """Return the share of all gold lines that the chunks show."""
    total = found = 0
    for target in targets:
        lines = set(range(target.start_line, target.end_line + 1))
        total += len(lines)
        for chunk in shown:
            if target.holds(chunk):
                lines -= set(range(chunk.start_line, chunk.end_line + 1))
        found += target.end_line - target.start_line + 1 - len(lines)
    return found / total


def score(index: ProjectIndex, questions: Sequence[Question], find: Search) -> dict[str, list[float]]:
    """Return the scores of every question under the names of the measures."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for question in questions:
        started = time.perf_counter()
        chunks = find(index, question.text, SOURCES if question.has_gold_lines else RANKS * 10)
        scores["milliseconds"].append((time.perf_counter() - started) * 1_000)
        if not question.has_gold_lines:
            scores["all"].append(ndcg(chunks, question.targets))
            scores[question.category].append(scores["all"][-1])
            scores["by file"].append(ndcg(one_per_file(chunks), question.targets))
            continue
        for budget in BUDGETS_TOKENS:
            shown = within(chunks, budget)
            touched = all(any(target.holds(chunk) for chunk in shown) for target in question.targets)
            scores[f"spans {budget}"].append(float(touched))
            scores[f"lines {budget}"].append(gold_lines_shown(shown, question.targets))
    return dict(scores)


def measure(corpus: Path, questions: Sequence[Question]) -> dict[str, dict[str, list[float]]]:
    """Index the corpus, print what that cost, and return every method's scores."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index.sqlite"
        index = ProjectIndex.open(file, fingerprint=index_fingerprint())
        stats = next(event for event in update(index, corpus) if isinstance(event, IndexFinished)).stats
        paths = list(index.stamps())
        answerable = [
            question
            for question in questions
            if all(any(is_suffix(target.path, path) for path in paths) for target in question.targets)
        ]
        print(
            f"\n{corpus.name}: {stats.files} files, {stats.chunks} chunks in {stats.seconds:.1f} s, "
            f"index {file.stat().st_size / 2**20:.1f} MiB; {len(answerable)} questions, "
            f"{len(questions) - len(answerable)} left out"
        )
        methods: dict[str, Search] = {"plain BM25": by_plain_bm25, "search": by_text_search}
        if any(question.has_gold_lines for question in answerable):
            methods = {"plain BM25": by_plain_bm25, "find_sources": by_sources}
        results = {name: score(index, answerable, find) for name, find in methods.items()}
        index.close()
    return results


def show(results: dict[str, dict[str, list[float]]]) -> None:
    """Print one line a method."""
    for method, scores in results.items():
        means = "  ".join(
            f"{name} {statistics.mean(values):.3f}"
            for name, values in scores.items()
            if name != "milliseconds"
        )
        milliseconds = statistics.median(scores.get("milliseconds", [0.0]))
        print(f"  {method:14} {means}  p50 {milliseconds:.1f} ms")


def main() -> None:
    """Measure every pair of a corpus and its questions, then all together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--questions", type=Path, action="append", required=True)
    parser.add_argument("--package", action="append")
    arguments = parser.parse_args()
    packages = arguments.package or [None] * len(arguments.corpus)
    together: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for corpus, file, package in zip(arguments.corpus, arguments.questions, packages, strict=True):
        results = measure(corpus, read_questions(file, package))
        show(results)
        for method, scores in results.items():
            for name, values in scores.items():
                together[method][name].extend(values)
    print("\nall questions together")
    show({method: dict(scores) for method, scores in together.items()})


if __name__ == "__main__":
    main()
