"""What becomes of conversations under load, over many turns, and when processes are killed.

    PYTHONPATH=tests python bench/endurance.py PART... [--model FILE] [--rounds N] [--setting NAME=VALUE]

crowd          4 conversations on 2 slots of the real engine
scripted-crowd 64 conversations on the scripted engine
turns          the service's memory over 500 turns, scripted engine
kill-service   kill -9 of the service at random moments, 200 rounds; scripted engine, or the model given
kill-engine    kill -9 of the engine while it is loaded, reads or writes, 50 rounds
cancel         100 explicit cancels of questions that wait, are read, are answered

Each prints its figures. The exit status is 1 when anything was lost, doubled, refused or left hanging, or
when memory grew; no time makes it so. The scripted engine is the test suite's.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MappingProxyType

import anyio

from coding_assistant.settings import load_settings
from conversations_bench.service import end_in_order_at_sigterm, product_service, running
from endurance_bench.cancelling import cancel
from endurance_bench.crashes import kill_engine, kill_service
from endurance_bench.crowds import crowd, many_turns
from endurance_bench.outcome import Outcome
from endurance_bench.scripted_service import scripted_service

SOURCES = Path(__file__).parents[1] / "src"

SHORT_ANSWERS = {"max_tokens": 48}


def crowd_of_few(arguments: argparse.Namespace, folder: Path) -> Outcome:
    """Hold four conversations on two slots of the real engine."""
    settings = {"SLOTS": "2", "PATIENCE_SECONDS": "3600", **arguments.settings}
    service = product_service(
        home=folder / "home", project=arguments.project, model=_model(arguments), settings=settings
    )
    with running(service):
        asked = partial(crowd, conversations=4, turns=arguments.rounds or 6, limits=SHORT_ANSWERS)
        return anyio.run(asked, service)


def crowd_of_many(arguments: argparse.Namespace, folder: Path) -> Outcome:
    """Hold 64 conversations on the scripted engine."""
    settings = {"SLOTS": "2", "PATIENCE_SECONDS": "3600", "LONGEST_QUEUE": "64", **arguments.settings}
    service = scripted_service(home=folder / "home", project=arguments.project, settings=settings)
    with running(service):
        return anyio.run(partial(crowd, conversations=64, turns=arguments.rounds or 6, limits={}), service)


def turns(arguments: argparse.Namespace, folder: Path) -> Outcome:
    """Ask 500 questions, one after the other."""
    service = scripted_service(home=folder / "home", project=arguments.project, settings=arguments.settings)
    last = arguments.rounds or 500
    with running(service):
        return anyio.run(partial(many_turns, marks=(last // 10, last // 2, last)), service)


def kills_of_service(arguments: argparse.Namespace, folder: Path) -> Outcome:
    """Kill the service."""
    home, project = folder / "home", arguments.project
    if arguments.model:
        service = product_service(
            home=home, project=project, model=_model(arguments), settings=arguments.settings
        )
    else:
        service = scripted_service(home=home, project=project, settings=arguments.settings)
    with running(service):
        killed = partial(
            kill_service,
            rounds=arguments.rounds or 200,
            longest_seconds=arguments.longest_seconds,
            chance=_chance(arguments),
        )
        return anyio.run(killed, service)


def kills_of_engine(arguments: argparse.Namespace, folder: Path) -> Outcome:
    """Kill the engine."""
    service = product_service(
        home=folder / "home", project=arguments.project, model=_model(arguments), settings=arguments.settings
    )
    with running(service):
        killed = partial(
            kill_engine,
            rounds=arguments.rounds or 50,
            longest_seconds=arguments.longest_seconds,
            chance=_chance(arguments),
        )
        return anyio.run(killed, service)


def cancels(arguments: argparse.Namespace, folder: Path) -> Outcome:
    """Cancel questions."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("CODING_ASSISTANT_")}
    named = {f"CODING_ASSISTANT_{name}": value for name, value in arguments.settings.items()}
    flags = {"home": str(folder / "home"), "model_name": _model(arguments)}
    settings = load_settings({**given, "CODING_ASSISTANT_SOURCE_TOKENS": "3000", **named}, flags)
    tried = partial(cancel, tries=arguments.rounds or 100, chance=_chance(arguments))
    return anyio.run(tried, settings, arguments.project)


PARTS: MappingProxyType[str, Callable[[argparse.Namespace, Path], Outcome]] = MappingProxyType(
    {
        "crowd": crowd_of_few,
        "scripted-crowd": crowd_of_many,
        "turns": turns,
        "kill-service": kills_of_service,
        "kill-engine": kills_of_engine,
        "cancel": cancels,
    }
)


def main() -> None:
    """Run the parts that the command line names."""
    end_in_order_at_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("parts", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    add("--model", type=Path, help="a .gguf file, for the parts that run the real engine")
    add("--project", type=Path, default=SOURCES, help="the folder that is asked about; default: our own code")
    add("--rounds", type=int, help="rounds, turns or tries; default: what the bar asks for")
    add("--longest-seconds", type=float, default=2.0, help="a kill comes at most so long after a question")
    add("--seed", type=int, default=4, help="of the chance by which moments are chosen")
    add("--setting", action="append", default=[], metavar="NAME=VALUE", help="of the service, e.g. SLOTS=4")
    arguments = parser.parse_args()
    arguments.settings = dict(setting.split("=", 1) for setting in arguments.setting)
    arguments.project = arguments.project.resolve()
    violated = False
    for part in arguments.parts:
        print(f"{part}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            outcome = PARTS[part](arguments, Path(folder))
        print(outcome, flush=True)
        violated |= bool(outcome.violations)
    sys.exit(violated)


def _model(arguments: argparse.Namespace) -> str:
    if arguments.model is None:
        raise SystemExit("This part runs the real engine: name a .gguf file with --model.")
    return str(arguments.model.resolve())


def _chance(arguments: argparse.Namespace) -> random.Random:
    return random.Random(arguments.seed)  # noqa: S311  -- moments, not secrets


if __name__ == "__main__":
    main()
