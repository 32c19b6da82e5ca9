"""One adapter on one corpus, in a process of its own, so that its memory is its own."""

import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from retrieval_bench.adapters.adapter import MOST_SPANS, Adapter
from retrieval_bench.adapters.registry import make_adapter
from retrieval_bench.corpora import Corpus, Scope
from retrieval_bench.metrics import BUDGETS_TOKENS, RANKS, score_list, score_sources
from retrieval_bench.questions import Question
from retrieval_bench.spans import Budget

TIMED_TOKENS = 1_000  # asked for first: by the second time, much of what is found is remembered
EDITS = 5
# An index may distrust a file whose time of change is as recent as this, and read it again at every update.
SETTLING_SECONDS = 2.2


@dataclass(frozen=True, slots=True)
class Job:
    """What one process is to do; ``root`` is a copy that it may edit."""

    adapter: str
    embedder: str
    root: Path
    questions: tuple[Question, ...]
    characters_per_token: float
    with_edits: bool


@dataclass(frozen=True, slots=True)
class Costs:
    """What an adapter took: its index, its process at its largest, its largest child, its freshness.

    ``look_milliseconds`` is what the search for changes takes where there are none, ``edit_milliseconds`` the
    median from the edit of a file to its being found. Both are None where not measured, the latter also where
    the edit was not found.
    """

    files: int
    chunks: int
    index_seconds: float
    index_bytes: int
    resident_bytes: int
    child_resident_bytes: int
    look_milliseconds: float | None = None
    edit_milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The costs, and the scores of every question in the order asked, its milliseconds among them."""

    costs: Costs
    scores: tuple[dict[str, float], ...]


@contextmanager
def project_copy(corpus: Corpus, scope: Scope, cache: Path) -> Iterator[Path]:
    """Give a copy of as much of a corpus as the scope has, under the same paths, and remove it afterwards."""
    folder = corpus.indexed_folder(scope)
    with TemporaryDirectory() as temporary:
        root = Path(temporary) / corpus.name
        shutil.copytree(corpus.place(cache) / folder, root / folder, symlinks=True)
        yield root


def measure(job: Job) -> Measurement:
    """Do the job in a new process."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure_here, job).result()


def _measure_here(job: Job) -> Measurement:
    adapter = make_adapter(job.adapter, job.embedder)
    with TemporaryDirectory() as workspace:
        started = time.perf_counter()
        built = adapter.build(job.root, Path(workspace))
        seconds = time.perf_counter() - started
        scores = tuple(_ask(adapter, question, job.characters_per_token) for question in job.questions)
        resident = _peak_resident_bytes()
        look = edit = None
        if job.with_edits:
            look = _look_milliseconds(adapter)
            edit = _edit_milliseconds(adapter, job.root, job.questions[0].gold[0].path)
        adapter.close()
    return Measurement(
        Costs(
            files=built.files,
            chunks=built.chunks,
            index_seconds=seconds,
            index_bytes=built.index_bytes,
            resident_bytes=resident,
            child_resident_bytes=_kibibytes(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss),
            look_milliseconds=look,
            edit_milliseconds=edit,
        ),
        scores,
    )


def _ask(adapter: Adapter, question: Question, characters_per_token: float) -> dict[str, float]:
    started = time.perf_counter()
    listed = adapter.search(question.text, RANKS)
    answered = time.perf_counter()
    deep = adapter.search(question.text, MOST_SPANS)
    scores = score_list(question, listed, deep) | {"ms search": (answered - started) * 1_000}
    for tokens in sorted(BUDGETS_TOKENS, key=lambda each: each != TIMED_TOKENS):
        budget = Budget(tokens, characters_per_token)
        asked = time.perf_counter()
        sources = adapter.sources(question.text, budget, context=question.context)
        scores.setdefault("ms sources", (time.perf_counter() - asked) * 1_000)
        scores |= score_sources(question, sources, budget)
    return scores


def _look_milliseconds(adapter: Adapter) -> float:
    """Return the time of a refresh when nothing has changed, nor is young enough to be distrusted."""
    time.sleep(SETTLING_SECONDS)
    adapter.refresh()
    started = time.perf_counter()
    adapter.refresh()
    return (time.perf_counter() - started) * 1_000


def _edit_milliseconds(adapter: Adapter, root: Path, path: PurePosixPath) -> float | None:
    """Return the median time from an edit to its being found, None if it is not; then undo it."""
    file = root / path
    original = file.read_bytes()
    try:
        took = [_one_edit(adapter, file, original, number) for number in range(EDITS)]
    finally:
        file.write_bytes(original)
    found = [each for each in took if each is not None]
    return statistics.median(found) if len(found) == EDITS else None


def _one_edit(adapter: Adapter, file: Path, original: bytes, number: int) -> float | None:
    word = f"benchmarkedit{number}"
    file.write_bytes(original + f"\n{word} = {number}\n".encode())
    started = time.perf_counter()
    adapter.refresh()
    spans = adapter.search(word, MOST_SPANS)
    milliseconds = (time.perf_counter() - started) * 1_000
    return milliseconds if any(word in span.text for span in spans) else None


def _peak_resident_bytes() -> int:
    """Return the largest memory this process has had.

    Linux counts in ``ru_maxrss`` what the parent held before this program began, so there its note is read.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return _kibibytes(int(fields["VmHWM"].split()[0]))
    return _kibibytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _kibibytes(maximum: int) -> int:
    """Return the bytes of a figure that Linux gives in KiB and macOS in bytes."""
    return maximum if sys.platform == "darwin" else maximum * 1_024
