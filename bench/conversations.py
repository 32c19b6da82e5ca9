"""What conversations cost: ours, and a plain llama.cpp server under the layouts of two other programs.

    python bench/conversations.py run --project DIR --model FILE [--rounds N] [--json FILE]
    python bench/conversations.py show FILE

Every arm asks the same questions (bench/conversations/questions.json): ten turns of one conversation, then
four conversations in turn, then all four after a restart of the service. The arms run one after the other, in
even rounds in the reverse order, each on a fresh process and fresh data; ours is first, for the others, as
AnythingLLM and as Open WebUI, are given the sources that it found. One engine build, one model, as many
threads, one slot.

Then answers are written through our API and by the bare engine, in pairs. The figures count only beside
others of the same run, on a machine that does nothing else.
"""

import argparse
import importlib.metadata
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from coding_assistant.inference.llama import default_threads
from conversations_bench.arms import Arm, Ours, Plain, Sources, restart
from conversations_bench.course import After, Step, course, read_conversations
from conversations_bench.decoding import decoding_pairs
from conversations_bench.layouts import LAYOUTS, Layout
from conversations_bench.plain_server import plain_service
from conversations_bench.report import summary
from conversations_bench.results import (
    OURS,
    DecodingPair,
    Restart,
    Results,
    read_results,
    write_results,
)
from conversations_bench.service import Service, end_in_order_at_sigterm, product_service, running
from retrieval_bench.results import current_commit, python_version

HERE = Path(__file__).parent
QUESTIONS = HERE / "conversations" / "questions.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all arms have in common. ``program`` is a ``llama-server``, empty for the bundled engine."""

    project: Path
    model: str
    context_tokens: int
    threads: int
    answer_tokens: int
    settings: Mapping[str, str]
    program: str = ""

    def ours(self, home: Path) -> Service:
        """Return the product as a process."""
        settings = {"N_THREADS": str(self.threads), "CONTEXT_TOKENS": str(self.context_tokens)}
        if self.program:
            settings["LLAMA_SERVER"] = self.program
        return product_service(
            home=home, project=self.project, model=self.model, settings={**settings, **self.settings}
        )

    def plain(self, folder: Path) -> Service:
        """Return a plain server as a process."""
        return plain_service(
            model=self.model,
            context_tokens=self.context_tokens,
            threads=self.threads,
            log=folder / "plain.log",
            program=self.program,
        )


def main() -> None:
    """Do what the command line asks for."""
    end_in_order_at_sigterm()
    arguments = _parser().parse_args()
    arguments.command(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Measure, keep the results after each arm, and print the tables."""
    setting = Setting(
        project=arguments.project.resolve(),
        model=str(arguments.model.resolve()),
        context_tokens=arguments.context_tokens,
        threads=arguments.threads or default_threads(),
        answer_tokens=arguments.answer_tokens,
        settings=dict(setting.split("=", 1) for setting in arguments.setting),
        program=str(arguments.llama_server.resolve()) if arguments.llama_server else "",
    )
    results = Results(
        commit=current_commit(HERE),
        python=python_version(),
        engine=_engine_name(setting.program),
        model=arguments.model.stem,
        project=setting.project.name,
        context_tokens=setting.context_tokens,
        answer_tokens=setting.answer_tokens,
        threads=setting.threads,
        settings=dict(setting.settings),
    )
    file = arguments.json or HERE / "results" / f"conversations-{results.commit}.json"
    conversations = read_conversations(arguments.questions)
    steps = course(conversations, turns=arguments.turns, switches=arguments.switches)
    sources: Sources = {}
    for round_number in range(1, arguments.rounds + 1):
        arms = [OURS, *LAYOUTS]
        for name in arms if round_number % 2 else reversed(arms):
            with _arm(name, setting, sources) as arm:
                anyio.run(_follow_course, arm, steps, round_number, results)
            write_results(results, file)
    if arguments.decoding:
        questions = [question for asked in conversations.values() for question in asked]
        _measure_decoding(setting, questions[: arguments.decoding], results)
        write_results(results, file)
    print(summary(results))


def _engine_name(program: str) -> str:
    if not program:
        return f"xllamacpp {importlib.metadata.version('xllamacpp')}"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return f"llama-server, {(told.stderr or told.stdout).splitlines()[0]}"


def show(arguments: argparse.Namespace) -> None:
    """Print the tables of a run."""
    print(summary(read_results(arguments.file)))


async def _follow_course(arm: Arm, steps: Sequence[Step], round_number: int, results: Results) -> None:
    await arm.warm_up()
    restarted = False
    for step in steps:
        if step.after is After.RESTART and not restarted:
            results.restarts.append(Restart(arm.name, round_number, await restart(arm)))
            restarted = True
        measured = await arm.ask(step, round_number=round_number)
        results.measured.append(measured)
        print(
            f"{arm.name} {step.name}: prompt {measured.prompt_tokens}, read {measured.read_tokens},"
            f" first token {measured.first_token_seconds:.2f} s, whole {measured.total_seconds:.1f} s",
            flush=True,
        )


@contextmanager
def _arm(name: str, setting: Setting, sources: Sources) -> Iterator[Arm]:
    """Start an arm on a fresh process and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if name == OURS:
            with running(setting.ours(home)) as service:
                yield Ours(service, home, setting.answer_tokens, sources)
        else:
            layout: Layout = LAYOUTS[name]
            with running(setting.plain(Path(folder))) as service:
                yield Plain(name, service, layout, setting.answer_tokens, sources)


def _measure_decoding(setting: Setting, questions: Sequence[str], results: Results) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        running(setting.ours(Path(folder) / "home")) as ours,
        running(setting.plain(Path(folder))) as bare,
    ):
        results.decoding += anyio.run(_pairs, ours, bare, questions, setting.answer_tokens)


async def _pairs(ours: Service, bare: Service, questions: Sequence[str], tokens: int) -> list[DecodingPair]:
    return await decoding_pairs(ours, bare, questions, answer_tokens=tokens)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    running_it = commands.add_parser("run", help="ask and measure")
    running_it.set_defaults(command=run)
    add = running_it.add_argument
    add("--project", type=Path, required=True, help="the folder that the questions are about")
    add("--model", type=Path, required=True, help="a .gguf file")
    add("--rounds", type=int, default=2, help="ours and the others, then the reverse, and so on")
    add("--turns", type=int, default=10, help="of the long conversation, before the others begin")
    add("--switches", type=int, default=3, help="how often each conversation is taken up among the others")
    add("--decoding", type=int, default=6, help="pairs of answers to compare the writing by; 0 for none")
    add("--answer-tokens", type=int, default=256)
    add("--context-tokens", type=int, default=8_192)
    add("--threads", type=int, help="of the engine; default: as the product chooses")
    add("--llama-server", type=Path, metavar="FILE", help="for all arms; default: the bundled engine")
    add("--setting", action="append", default=[], metavar="NAME=VALUE", help="ours alone, e.g. SLOTS=2")
    add("--questions", type=Path, default=QUESTIONS)
    add("--json", type=Path, help="where to keep the results; bench/results/conversations-COMMIT.json")
    showing = commands.add_parser("show", help="print the tables of a run")
    showing.set_defaults(command=show)
    showing.add_argument("file", type=Path)
    return parser


if __name__ == "__main__":
    main()
