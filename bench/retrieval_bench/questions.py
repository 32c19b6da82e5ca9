"""Questions with what answers them, read from the benchmarks' own formats.

A gold path is written as the pinned revision has it; a release may keep the file under another prefix, so
paths meet by their ends. A question whose gold is not all in the release is left out and counted.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

# What a reference answer of SWE-QA cites: a Python file, anywhere in the text.
_CITED_FILE = re.compile(r"[\w/.-]+\.py\b")


@dataclass(frozen=True, slots=True)
class Gold:
    """A file that answers, or the lines of it that do."""

    path: PurePosixPath
    start_line: int = 0
    end_line: int = 0

    @property
    def has_lines(self) -> bool:
        """Whether it is more exact than a file."""
        return self.start_line > 0


@dataclass(frozen=True, slots=True)
class Question:
    """A question, what answers it, and of what kind it is.

    ``lines_hold`` tells that the gold lines are of the very release that is searched; only then are lines
    scored. Otherwise they are of the pinned revision, and near at best.
    """

    id: str
    corpus: str
    text: str
    category: str
    gold: tuple[Gold, ...]
    lines_hold: bool = False
    context: str = ""  # words of the conversation before it


def read_semble(folder: Path, corpus: str) -> list[Question]:
    """Read semble's annotations of one repository; relevant and secondary files count alike."""
    file = folder / "annotations" / f"{corpus}.json"
    if not file.is_file():
        return []
    return [
        Question(
            id=f"{corpus}-{number:02}",
            corpus=corpus,
            text=entry["query"],
            category=entry["category"],
            gold=tuple(_annotated(target) for target in (*entry["relevant"], *entry["secondary"])),
        )
        for number, entry in enumerate(json.loads(file.read_text()), start=1)
    ]


def _annotated(target: str | dict[str, Any]) -> Gold:
    if isinstance(target, str):
        return Gold(PurePosixPath(target))
    return Gold(PurePosixPath(target["path"]), target.get("start_line", 0), target.get("end_line", 0))


def read_published(folder: Path) -> dict[str, dict[str, float]]:
    """Return the published NDCG@10 of each repository, by method."""
    published: dict[str, dict[str, float]] = json.loads((folder / "published.json").read_text())
    return published


def read_swe_qa(folder: Path, corpus: str) -> list[Question]:
    """Read SWE-QA's questions about one repository; gold are the Python files that the answer cites."""
    file = folder / f"{corpus}.jsonl"
    if not file.is_file():
        return []
    return [
        Question(
            id=f"{corpus}-{number:02}",
            corpus=corpus,
            text=entry["question"],
            category="swe-qa",
            gold=tuple(Gold(path) for path in _cited_files(entry["answer"])),
        )
        for number, entry in enumerate(json_lines(file), start=1)
    ]


def _cited_files(answer: str) -> list[PurePosixPath]:
    """Return the files that an answer cites, without tests, as its paths' ends."""
    cited = dict.fromkeys(match.lstrip("./") for match in _CITED_FILE.findall(answer))
    return [PurePosixPath(path) for path in cited if "test" not in path]


def read_gold_lines(files: Iterable[Path]) -> list[Question]:
    """Read questions whose gold is exact lines; what is about something absent has none and is not read."""
    return [
        Question(
            id=entry["id"],
            corpus=entry["package"],
            text=entry["question"],
            category=entry["kind"],
            gold=tuple(gold_lines(entry["gold"])),
            lines_hold=True,
        )
        for file in files
        for entry in json_lines(file)
        if entry["gold"]
    ]


def gold_lines(entries: Iterable[Mapping[str, Any]]) -> Iterator[Gold]:
    """Read gold spans as the answers' format has them."""
    for entry in entries:
        yield Gold(PurePosixPath(entry["path"]), entry["start"], entry["end"])


def in_release(question: Question, paths: Iterable[PurePosixPath]) -> Question | None:
    """Return the question with its gold as the release's paths, or None when the release lacks any of it."""
    by_name = _by_name(paths)
    gold = []
    for target in question.gold:
        path = _nearest(target.path, by_name.get(target.path.name, ()))
        if path is None:
            return None
        gold.append(replace(target, path=path))
    return replace(question, gold=tuple(dict.fromkeys(gold)))


def cited_in_release(question: Question, paths: Iterable[PurePosixPath]) -> Question | None:
    """Return the question with every file that a citation may mean as gold, or None when there is none.

    An answer cites ``app.py`` where the release has several; and it cites what is not of the project at all.
    """
    by_name = _by_name(paths)
    meant = dict.fromkeys(
        path
        for target in question.gold
        for path in by_name.get(target.path.name, ())
        if _is_end(target.path, path) and "test" not in path.as_posix()
    )
    return replace(question, gold=tuple(map(Gold, meant))) if meant else None


def _by_name(paths: Iterable[PurePosixPath]) -> dict[str, list[PurePosixPath]]:
    by_name: defaultdict[str, list[PurePosixPath]] = defaultdict(list)
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        by_name[path.name].append(path)
    return dict(by_name)


def _nearest(wanted: PurePosixPath, candidates: Iterable[PurePosixPath]) -> PurePosixPath | None:
    """Return the candidate that is the wanted path, or shares the longest end with it; None if none does."""
    alike = [path for path in candidates if _is_end(path, wanted) or _is_end(wanted, path)]
    return max(alike, key=lambda path: min(len(path.parts), len(wanted.parts)), default=None)


def _is_end(end: PurePosixPath, path: PurePosixPath) -> bool:
    return path.parts[-len(end.parts) :] == end.parts


def json_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Read a file of one JSON object a line; its readers know the formats."""
    return (json.loads(line) for line in file.read_text().splitlines() if line.strip())
