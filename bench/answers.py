"""How right answers are: a bare engine with nothing, little or the very lines to read, and the product.

    python bench/answers.py run --cache DIR --model FILE [--questions FILE] [--packages FILE] [--json FILE]
    python bench/answers.py show FILE ...
    python bench/answers.py read FILE [--id PREFIX] [--arm ARM]

Every question has the facts that a right answer states, as regexes. The arms are asked one after the other,
with one engine build, at temperature 0, each question on its own. The results are written after every answer,
and a run with the same file asks only what has no answer yet: to mark answers anew after a regex was
corrected, run it again. ``show`` puts runs side by side; ``read`` prints what was said.

The packages are those of a list like that of the questions, or else of retrieval_bench/corpora.toml.
Questions that are kept back are asked only with ``--kept-back``, and then no others are.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from answers_bench.arms import Arm, Bare, Ours, Reading, answer
from answers_bench.packages import Package, UnknownPackage, read_packages
from answers_bench.prompts import our_prompt, plain_prompt
from answers_bench.questions import Question, chosen, packages_of, read_questions, refusals
from answers_bench.reading import as_text
from answers_bench.report import summary
from answers_bench.results import (
    ArmName,
    Conditions,
    Results,
    begun_results,
    read_results,
    write_results,
)
from answers_bench.servers import Engine
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.llama import default_threads
from conversations_bench.service import end_in_order_at_sigterm, running
from retrieval_bench.corpora import read_corpora
from retrieval_bench.fetching import fetch
from retrieval_bench.results import current_commit, python_version

HERE = Path(__file__).parent
QUESTIONS = HERE / "answers" / "questions.jsonl"


@dataclass(frozen=True, slots=True)
class Run:
    """What all arms of a run have in common."""

    engine: Engine
    packages: Mapping[str, Package]
    answer_tokens: int
    settings: Mapping[str, str]
    results: Results
    file: Path

    @contextmanager
    def arm(self, name: ArmName) -> Iterator[Arm]:
        """Start the server of an arm on an empty folder."""
        with tempfile.TemporaryDirectory() as folder:
            if name is ArmName.OURS:
                roots = [package.root for package in self.packages.values()]
                product = self.engine.product(Path(folder) / "home", roots, self.settings)
                with running(product) as service:
                    yield Ours(service, self.packages, self.answer_tokens)
                return
            reading = Reading(self.packages)
            excerpts, prompt = {
                ArmName.NO_CONTEXT: (reading.nothing, plain_prompt),
                ArmName.BM25: (reading.bm25, plain_prompt),
                ArmName.GOLD_PLAIN: (reading.gold, plain_prompt),
                ArmName.GOLD_OURS: (reading.gold, our_prompt(_instructions(self.engine.model))),
            }[name]
            with running(self.engine.bare(Path(folder))) as service:
                yield Bare(name, service, self.answer_tokens, excerpts, prompt)


def main() -> None:
    """Do what the command line asks for."""
    end_in_order_at_sigterm()
    arguments = _parser().parse_args()
    arguments.command(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Ask what has no answer yet, keep each answer, and print the tables."""
    every = read_questions(arguments.questions or [QUESTIONS])
    questions = chosen(every, prefix=arguments.only, limit=arguments.limit, kept_back=arguments.kept_back)
    engine = Engine(
        model=arguments.model.resolve(),
        program=str(arguments.llama_server.resolve()) if arguments.llama_server else "",
        context_tokens=arguments.context_tokens,
        threads=arguments.threads or default_threads(),
    )
    conditions = Conditions(
        engine=engine.name,
        model=engine.model.stem,
        python=python_version(),
        context_tokens=engine.context_tokens,
        answer_tokens=arguments.answer_tokens,
        threads=engine.threads,
        settings=dict(setting.split("=", 1) for setting in arguments.setting),
    )
    commit = current_commit(HERE)
    file = arguments.json or HERE / "results" / f"answers-{commit}-{engine.model.stem}.json"
    results = begun_results(file, conditions)
    results.ask_about(questions)
    results.refusals = refusals([*results.questions.values(), *every])
    asked = Run(
        engine=engine,
        packages=_fetched(questions, arguments),
        answer_tokens=arguments.answer_tokens,
        settings=conditions.settings,
        results=results,
        file=file,
    )
    for name in ArmName:
        left = results.unanswered(name, questions)
        if left and name in (arguments.arm or list(ArmName)):
            with asked.arm(name) as arm:
                anyio.run(_ask_all, arm, name, left, asked)
    write_results(results, file)
    print(summary({file.stem: results}))


def show(arguments: argparse.Namespace) -> None:
    """Print the tables of runs side by side."""
    print(summary({file.stem: read_results(file) for file in arguments.files}))


def read(arguments: argparse.Namespace) -> None:
    """Print questions and answers."""
    for text in as_text(read_results(arguments.file), prefix=arguments.id, arm=arguments.arm):
        print(text)


async def _ask_all(arm: Arm, name: ArmName, questions: Sequence[Question], asked: Run) -> None:
    await arm.warm_up(packages_of(questions))
    commit = current_commit(HERE)
    for question in questions:
        answered = await answer(arm, question, name=name, commit=commit)
        asked.results.add(answered)
        write_results(asked.results, asked.file)
        told = answered.failure or (
            f"prompt {answered.prompt_tokens}, first token {answered.first_token_seconds:.1f} s,"
            f" whole {answered.total_seconds:.1f} s"
        )
        print(f"{name} {question.id}: {told}", flush=True)


def _fetched(questions: Sequence[Question], arguments: argparse.Namespace) -> dict[str, Package]:
    """Return the packages that are asked about, after fetching those that are not in the cache."""
    known = read_corpora()
    for listing in arguments.packages:
        known |= read_packages(listing)
    packages = {}
    for name in packages_of(questions):
        if name not in known:
            raise UnknownPackage(f"No list of packages has {name}.")
        packages[name] = Package(name, fetch(known[name], arguments.cache).resolve())
        packages[name].require_gold(questions)
    return packages


def _instructions(model: Path) -> str:
    """Return what the product tells this model in place of its own system text; empty: nothing."""
    return Catalog.load(user_file=None, models_folder=model.parent).get(str(model)).system_prompt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    running_it = commands.add_parser("run", help="ask and measure")
    running_it.set_defaults(command=run)
    add = running_it.add_argument
    add("--questions", type=Path, action="append", help="may be repeated; bench/answers/questions.jsonl")
    add("--packages", type=Path, action="append", default=[], help="a list of packages; may be repeated")
    add("--cache", type=Path, required=True, help="folder that the packages are kept in")
    add("--model", type=Path, required=True, help="a .gguf file")
    add("--llama-server", type=Path, metavar="FILE", help="for all arms; default: the bundled engine")
    add("--arm", action="append", choices=list(ArmName), help="only these; may be repeated")
    add("--only", default="", metavar="PREFIX", help="only questions whose id begins so")
    add("--limit", type=int, help="only the first so many")
    add("--kept-back", action="store_true", help="the questions that are kept back, and no others")
    add("--setting", action="append", default=[], metavar="NAME=VALUE", help="ours alone; may be repeated")
    add("--answer-tokens", type=int, default=256)
    add("--context-tokens", type=int, default=8_192)
    add("--threads", type=int, help="of the engine; default: as the product chooses")
    add("--json", type=Path, help="where to keep the results; bench/results/answers-COMMIT-MODEL.json")
    showing = commands.add_parser("show", help="print the tables of runs side by side")
    showing.set_defaults(command=show)
    showing.add_argument("files", type=Path, nargs="+", metavar="FILE")
    reading = commands.add_parser("read", help="print questions and answers")
    reading.set_defaults(command=read)
    reading.add_argument("file", type=Path)
    reading.add_argument("--id", default="", metavar="PREFIX", help="only questions whose id begins so")
    reading.add_argument("--arm", default="", choices=["", *ArmName], help="only this arm")
    return parser


if __name__ == "__main__":
    main()
