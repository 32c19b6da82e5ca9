"""How fast each engine of this machine is: loading, reading, writing, memory; bare, and through our API.

    python bench/engine.py make ENGINES
    python bench/engine.py run --engines ENGINES --model FILE [--model FILE ...] [--rounds N] [--json FILE]
    python bench/engine.py show FILE

Every round measures each arm once on a fresh process, in even rounds in the reverse order; medians count.
Arms are each engine's server as the product starts it ("bare"), ``coding-assistant serve`` in front of it
("our API", a project of one line, the times of its reader), and ``llama-bench`` of the native build, which
``make`` compiles beside the engine. Weights are in the page cache, as after any first use. Nothing else may
run.

Full-size shapes without their weights: ``engine_bench/synthetic.py`` writes such files.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import anyio
import numpy as np

from coding_assistant.inference.engine_programs import BUNDLED, NATIVE, EngineProgram, find_programs
from coding_assistant.inference.gguf import read_header
from coding_assistant.inference.native_build.build import BENCHMARK, BuildOptions, Built, EngineBuild
from coding_assistant.inference.processor import this_processor
from conversations_bench.service import end_in_order_at_sigterm
from engine_bench.arms import Arm, Bare, LlamaBench, Ours, Subject, machine_threads
from engine_bench.report import summary
from engine_bench.results import Model, Results, read_results, write_results
from retrieval_bench.results import current_commit

COPIED_BYTES = 256 * 2**20
COPIES = 5


def main() -> None:
    """Do what the command line asks for."""
    end_in_order_at_sigterm()
    arguments = _parser().parse_args()
    arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--model", action="append", type=Path, required=True, metavar="FILE")
    run.add_argument("--engines", type=Path, default=Path("/nonexistent"), help="the folder with native/")
    run.add_argument("--named", default="", metavar="FILE", help="another llama-server")
    run.add_argument("--llama-bench", type=Path, metavar="FILE", help="default: beside the native engine")
    run.add_argument("--rounds", type=int, default=3)
    run.add_argument("--threads", type=int, default=machine_threads())
    run.add_argument("--json", type=Path, metavar="FILE")
    run.set_defaults(command=_run)
    show = commands.add_parser("show", help="print the figures of a run")
    show.add_argument("file", type=Path)
    show.set_defaults(command=lambda arguments: print(summary(read_results(arguments.file))))
    make = commands.add_parser("make", help="compile the native engine and llama-bench into a folder")
    make.add_argument("engines", type=Path)
    make.set_defaults(command=_make)
    return parser


def _make(arguments: argparse.Namespace) -> None:
    """Compile as `engine build` does, with the benchmark."""
    folder: Path = arguments.engines
    folder.mkdir(parents=True, exist_ok=True)
    build = EngineBuild(
        folder, BuildOptions(with_benchmark=True), log=folder / "build.log", environment=os.environ
    )
    with build.opened(), closing(build.compile()) as events:
        for event in events:
            print(event, flush=True)
            if isinstance(event, Built):
                print(build.install())


def _run(arguments: argparse.Namespace) -> None:
    found = find_programs(arguments.engines, arguments.named, "")
    for program in found:
        if program.fault:
            print(f"{program.kind} is left out: {program.fault}")
    programs = [program for program in found if not program.fault]
    results = Results(
        commit=current_commit(Path(__file__).parents[1]),
        processor=this_processor().name,
        threads=arguments.threads,
        copied_bytes_per_second=copied_bytes_per_second(arguments.threads),
        engines={each.kind: f"{each.version} {' '.join(each.features)}" for each in programs},
    )
    arms = _arms(programs, arguments.llama_bench)
    for file in arguments.model:
        anyio.run(
            _measure, results, arms, Subject(file.stem, file.resolve(), arguments.threads), arguments.rounds
        )
        if arguments.json:
            write_results(results, arguments.json)
    print(summary(results))


def _arms(programs: Sequence[EngineProgram], llama_bench: Path | None) -> list[Arm]:
    arms: list[Arm] = []
    for program in programs:
        arms += [Bare(program), Ours(program)]
        if program.kind != BUNDLED and program.file is not None:
            beside = llama_bench or program.file.with_name(BENCHMARK)
            if program.kind == NATIVE and beside.exists():
                arms.append(LlamaBench(beside, kind=program.kind))
    return arms


async def _measure(results: Results, arms: Sequence[Arm], subject: Subject, rounds: int) -> None:
    header = read_header(subject.file)
    results.models.append(Model(subject.model, header.tensor_bytes, header.kv_bytes_per_token))
    for number in range(rounds):
        for arm in arms if number % 2 == 0 else reversed(arms):
            began = time.monotonic()
            results.add(await arm.measure(subject, number))
            print(
                f"{subject.model}, round {number + 1}, {arm.name}: {time.monotonic() - began:.0f} s",
                flush=True,
            )


def copied_bytes_per_second(threads: int) -> float:
    """Return how many bytes all threads together read and write in a second, the best of some tries."""
    sources = [np.ones(COPIED_BYTES, dtype=np.uint8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(COPIES):
            began = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))
            best = max(best, 2 * threads * COPIED_BYTES / (time.perf_counter() - began))
    return best


if __name__ == "__main__":
    main()
