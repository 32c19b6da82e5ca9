"""What an index of many chunks takes: time, memory, bytes on disk, and how long a search waits.

    python bench/scale.py --cache DIR --adapter ours-text --chunks 10000 --chunks 100000

Projects that ``retrieval.py fetch`` has fetched are copied until there is code for about that many chunks.
Each further copy renames what code names (``HandlerStack``, ``handler_stack``), so the number of whole names
keeps growing with the code while the words in them repeat, as in a large code base. Every row is taken in a
process of its own; the chunks given are those of the index.
"""

import argparse
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from retrieval_bench.adapters.registry import ADAPTERS
from retrieval_bench.corpora import read_corpora
from retrieval_bench.measuring import Job, Measurement, measure
from retrieval_bench.questions import Gold, Question, read_gold_lines
from retrieval_bench.report import MEBIBYTE, markdown_table, quantile
from retrieval_bench.spans import CHARACTERS_PER_TOKEN

QUESTIONS = Path(__file__).parent / "questions"
# 28 MB of Django gave 47,556 chunks; what an index really holds is printed.
BYTES_PER_CHUNK = 600
LARGEST_FILE_BYTES = 500_000
_CODE_NAME = re.compile(r"\b[A-Za-z]\w*(?:_|[a-z](?=[A-Z]))\w+\b")


def main() -> None:
    """Measure every size by every adapter, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder of fetched projects")
    parser.add_argument("--adapter", action="append", required=True, choices=ADAPTERS)
    parser.add_argument("--chunks", type=int, action="append", required=True)
    parser.add_argument("--embedder", default="", metavar="MODULE:ARGUMENT")
    arguments = parser.parse_args()
    rows = []
    for chunks in arguments.chunks:
        with TemporaryDirectory() as folder:
            root = Path(folder)
            edited = write_code(root, arguments.cache, chunks * BYTES_PER_CHUNK)
            for adapter in arguments.adapter:
                job = Job(
                    adapter=adapter,
                    embedder=arguments.embedder,
                    root=root,
                    questions=_questions(edited),
                    characters_per_token=CHARACTERS_PER_TOKEN,
                    with_edits=True,
                )
                rows.append([adapter, *_row(measure(job))])
    print(markdown_table(["", *COLUMNS], rows))


def write_code(root: Path, cache: Path, size_bytes: int) -> Gold:
    """Fill the folder with that much code, and return a file of it that every adapter reads."""
    written = 0
    edited = None
    for path, text in _endless_code(cache):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        written += file.write_bytes(text.encode())
        if edited is None and path.suffix == ".py":
            edited = path
        if written >= size_bytes:
            break
    if edited is None:
        raise SystemExit(f"There are no projects in {cache}: run `retrieval.py fetch` first.")
    return Gold(edited)


def _endless_code(cache: Path) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the files of all projects, then again with other names, and so on."""
    places = [(corpus.name, corpus.place(cache)) for corpus in read_corpora().values()]
    files = [
        (PurePosixPath(name, file.relative_to(place).as_posix()), file)
        for name, place in places
        for file in sorted(place.rglob("*"))
        if file.is_file() and file.stat().st_size <= LARGEST_FILE_BYTES
    ]
    for copy in count() if files else ():
        for path, file in files:
            try:
                text = file.read_text()
            except UnicodeDecodeError:
                continue
            renamed = _CODE_NAME.sub(rf"\g<0>Of{copy}", text) if copy else text
            yield PurePosixPath(f"copy{copy}") / path, renamed


def _questions(edited: Gold) -> tuple[Question, ...]:
    """Return real questions; what answers them is beside the point, and the file to edit stands for it."""
    questions = read_gold_lines(sorted(QUESTIONS.glob("*.jsonl")))
    return tuple(Question(each.id, each.corpus, each.text, each.category, (edited,)) for each in questions)


COLUMNS = (
    "files",
    "chunks",
    "index s",
    "index MiB",
    "peak MiB",
    "its child",
    "search p50 ms",
    "p95",
    "sources p50 ms",
    "p95",
    "look ms",
    "edit ms",
)


def _row(measurement: Measurement) -> list[str]:
    costs = measurement.costs
    freshness = (costs.look_milliseconds, costs.edit_milliseconds)
    times = [
        sorted(scores[metric] for scores in measurement.scores) for metric in ("ms search", "ms sources")
    ]
    return [
        f"{costs.files:,}",
        f"{costs.chunks:,}",
        f"{costs.index_seconds:.0f}",
        f"{costs.index_bytes / MEBIBYTE:.0f}",
        f"{costs.resident_bytes / MEBIBYTE:.0f}",
        f"{costs.child_resident_bytes / MEBIBYTE:.0f}",
        *(f"{quantile(each, share):.1f}" for each in times for share in (0.5, 0.95)),
        *("-" if each is None else f"{each:.0f}" for each in freshness),
    ]


if __name__ == "__main__":
    main()
