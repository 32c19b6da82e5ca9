"""llama.cpp's server as its user gets it, with one slot: a process that knows nothing of this product.

Run as ``python -m conversations_bench.plain_server --model FILE --context-tokens N --threads N --port N``.
All else is the build's default: the prompt cache of the slot and the one in memory (8 GiB) are on, and a
batch has 2,048 tokens. Only how long its threads spin is set as the product sets it for its own engine, or
whatever else the machine does would slow this one alone, by ten times and more.
"""

import argparse
import signal
import sys
from pathlib import Path
from types import MappingProxyType

import xllamacpp  # type: ignore[import-untyped]  # the wheel carries no types

from conversations_bench.service import PACKAGES, Service, environment_with_path, product_environment

SPINNING = MappingProxyType({"GOMP_SPINCOUNT": "1000"})

WARNINGS = 2
"""llama.cpp's log level; what it writes to the log costs time."""


def plain_service(*, model: str, context_tokens: int, threads: int, log: Path, program: str = "") -> Service:
    """Return the server as a process to start: the bundled engine, or a ``llama-server`` binary."""
    command = [program] if program else [sys.executable, "-m", "conversations_bench.plain_server"]
    context, of_a_binary = ("--ctx-size", ["--parallel", "1"]) if program else ("--context-tokens", [])
    return Service(
        [*command, "--model", model, context, str(context_tokens), "--threads", str(threads), *of_a_binary],
        environment=environment_with_path(product_environment(log.parent), PACKAGES) | SPINNING,
        ready_path="/health",
        log=log,
    )


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--context-tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = arguments.model
    params.n_ctx = arguments.context_tokens
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.n_gpu_layers = 0
    params.n_parallel = 1
    params.hostnames = ["127.0.0.1"]
    params.port = arguments.port
    params.verbosity = WARNINGS
    _server = xllamacpp.Server(params)
    signal.pause()  # SIGTERM, left as it is, ends the process


if __name__ == "__main__":
    main()
