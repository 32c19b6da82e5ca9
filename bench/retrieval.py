"""How well search finds the files and the lines that answer, beside what else there is.

    python bench/retrieval.py fetch --cache DIR
    python bench/retrieval.py run --cache DIR --suite SUITE --adapter ADAPTER ... [--json FILE]
    python bench/retrieval.py show FILE [--by category --suite SUITE]
    python bench/retrieval.py compare OLD NEW

``fetch`` gets the projects that questions are about from their registries (retrieval_bench/corpora.toml).
``run`` asks every question of the chosen suites by every chosen adapter, each adapter and project in a
process of its own; the first adapter is the one that the others are compared with. The questions are given as
paths: semble's annotations, SWE-QA's questions, and questions with gold lines and follow-ups, which are those
of bench/questions and bench/follow_ups unless others are given.

Paths match by their ends; questions whose gold files are not all in the release are left out and counted.
Gold lines are scored where they are of the very release. A token is taken as 3.5 characters of text. Times
count only beside other times of the same run.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from retrieval_bench.adapters.registry import ADAPTERS
from retrieval_bench.corpora import Corpus, read_corpora
from retrieval_bench.fetching import FetchFailed, fetch
from retrieval_bench.measuring import Job, Measurement, measure, project_copy
from retrieval_bench.questions import read_published
from retrieval_bench.report import GROUPS, breakdown, comparison, headline, summary
from retrieval_bench.results import (
    Results,
    SuiteResults,
    current_commit,
    python_version,
    read_results,
    write_results,
)
from retrieval_bench.spans import CHARACTERS_PER_TOKEN
from retrieval_bench.suites import Benchmarks, Suite, Task, read_tasks

HERE = Path(__file__).parent


def main() -> None:
    """Do what the command line asks for."""
    arguments = _parser().parse_args()
    arguments.command(arguments)


def fetch_corpora(arguments: argparse.Namespace) -> None:
    """Fetch the corpora, telling of those that cannot be had."""
    for corpus in _chosen(arguments.corpus):
        try:
            print(f"{corpus.name}: {fetch(corpus, arguments.cache)}")
        except FetchFailed as failure:
            print(f"{corpus.name}: left out: {failure}")


def run_suites(arguments: argparse.Namespace) -> None:
    """Measure, print the tables, and keep the results."""
    corpora = _chosen(arguments.corpus)
    benchmarks = Benchmarks(
        semble=arguments.semble,
        swe_qa=arguments.swe_qa,
        gold_lines=tuple(arguments.gold_lines or sorted((HERE / "questions").glob("*.jsonl"))),
        follow_ups=tuple(arguments.follow_ups or sorted((HERE / "follow_ups").glob("*.jsonl"))),
    )
    results = Results(
        commit=current_commit(HERE),
        python=python_version(),
        embedder=arguments.embedder,
        characters_per_token=arguments.characters_per_token,
        releases={corpus.name: f"{corpus.registry} {corpus.package} {corpus.version}" for corpus in corpora},
        published=read_published(arguments.semble) if arguments.semble else {},
    )
    file = arguments.json or HERE / "results" / f"{results.commit}.json"
    for suite in map(Suite, arguments.suite):
        results.suites[suite] = SuiteResults()
        for task in read_tasks(suite, corpora, benchmarks, arguments.cache):
            results.suites[suite].add(task, _measure_all(task, arguments))
            print(f"{suite} {task.corpus.name}: asked {len(task.questions)}, left out {task.left_out}")
        write_results(results, file)
    print(summary(results))


def show_results(arguments: argparse.Namespace) -> None:
    """Print the tables of a run."""
    results = read_results(arguments.file)
    if not arguments.by:
        print(summary(results))
        return
    for name in arguments.suite or [name for name, suite in results.suites.items() if suite.questions]:
        metric = arguments.metric or headline(name)
        print(f"### {name}\n\n{breakdown(results, name, arguments.by, metric)}\n")


def compare_results(arguments: argparse.Namespace) -> None:
    """Print how two runs differ."""
    print(comparison(read_results(arguments.old), read_results(arguments.new)))


def _measure_all(task: Task, arguments: argparse.Namespace) -> dict[str, Measurement]:
    if not task.questions:
        return {}
    measurements = {}
    with project_copy(task.corpus, task.suite.scope, arguments.cache) as root:
        for adapter in arguments.adapter:
            job = Job(
                adapter=adapter,
                embedder=arguments.embedder,
                root=root,
                questions=task.questions,
                characters_per_token=arguments.characters_per_token,
                with_edits=arguments.edits,
            )
            measurements[adapter] = measure(job)
    return measurements


def _chosen(names: Iterable[str] | None) -> Sequence[Corpus]:
    corpora = read_corpora()
    return [corpora[name] for name in names] if names else list(corpora.values())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    fetching = commands.add_parser("fetch", help="fetch the projects")
    fetching.set_defaults(command=fetch_corpora)
    _add_corpora(fetching)

    running = commands.add_parser("run", help="ask the questions")
    running.set_defaults(command=run_suites)
    _add_corpora(running)
    running.add_argument("--suite", action="append", required=True, choices=list(Suite))
    running.add_argument("--adapter", action="append", required=True, choices=ADAPTERS)
    running.add_argument("--semble", type=Path, help="folder with annotations/ and published.json")
    running.add_argument("--swe-qa", type=Path, help="folder with flask.jsonl and requests.jsonl")
    running.add_argument("--gold-lines", type=Path, action="append", help="file of questions with gold lines")
    running.add_argument("--follow-ups", type=Path, action="append", help="file of follow-up questions")
    running.add_argument(
        "--embedder", default="", metavar="MODULE:ARGUMENT", help="MODULE.load(ARGUMENT); the product's own"
    )
    running.add_argument("--characters-per-token", type=float, default=CHARACTERS_PER_TOKEN)
    running.add_argument("--edits", action="store_true", help="measure also how soon an edit is found")
    running.add_argument("--json", type=Path, help="where to keep the results; bench/results/COMMIT.json")

    showing = commands.add_parser("show", help="print the tables of a run")
    showing.set_defaults(command=show_results)
    showing.add_argument("file", type=Path)
    showing.add_argument("--by", choices=GROUPS)
    showing.add_argument("--suite", action="append", choices=list(Suite))
    showing.add_argument("--metric")

    comparing = commands.add_parser("compare", help="print how two runs differ, question by question")
    comparing.set_defaults(command=compare_results)
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    return parser


def _add_corpora(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, required=True, help="folder that the projects are kept in")
    parser.add_argument("--corpus", action="append", help="only these projects")


if __name__ == "__main__":
    main()
