"""A ``llama-server`` made of the bundled library, with the command line and the log of a real one.

It runs models truly. What cannot be had on order it says as it is told to: GPUs that are not there, an option
that it does not know, a death, another version. ``install`` writes it as a program.
"""

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

VERSION = "version: 0.0.1 (build 777, commit abc1234)"
SYSTEM_INFO = "system_info: n_threads = 2 / 2 | CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | REPACK = 1 | "

_FLAGS = frozenset(
    [
        "--no-kv-unified",
        "--no-context-shift",
        "--no-cache-idle-slots",
        "--no-warmup",
        "--jinja",
        "--no-webui",
        "--slots",
        "--log-prefix",
        "--embedding",
        "--version",
        "--list-devices",
    ]
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the program differs from a faultless one without a GPU.

    ``devices`` and ``offloaded`` are lines of its own; ``layers_log`` is written before the model is loaded.
    With more than ``most_layers`` on a GPU its memory is too small.
    """

    version: str = VERSION
    system_info: str = SYSTEM_INFO
    devices: str = "  (none)"
    layers_log: str = ""
    unknown_option: str = ""
    signal_at_start: int = 0
    signal_at_load: int = 0
    load_error: str = ""
    ignores_key: bool = False
    loses_first_port: bool = False
    most_layers: int = 1_000


def install(folder: Path, behaviour: Behaviour | None = None, *, name: str = "llama-server") -> Path:
    """Write the program into a folder, which is made, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    tests = str(Path(__file__).parent.parent)
    told = json.dumps(asdict(behaviour or Behaviour()))
    file.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {tests!r})\n"
        f"from support.stand_in_llama_server import Behaviour, run\nimport json\n"
        f"run(Behaviour(**json.loads({told!r})), sys.argv[1:])\n",
        encoding="utf-8",
    )
    file.chmod(0o755)
    return file


def run(behaviour: Behaviour, words: list[str]) -> None:
    """Do what the command line says."""
    if behaviour.signal_at_start:
        os.kill(os.getpid(), behaviour.signal_at_start)
    if behaviour.unknown_option in words:
        _say(f"error: invalid argument: {behaviour.unknown_option}")
        sys.exit(1)
    options = _options(words)
    if "--version" in options:
        _say(behaviour.version)
        return
    if "--list-devices" in options:
        sys.stdout.write(f"Available devices:\n{behaviour.devices}\n")
        return
    _say(f"0.00.001.000 I {behaviour.system_info}")
    _say(f"0.00.001.000 I working directory: {Path.cwd()}")
    if behaviour.load_error or options["--model"] == os.devnull:
        _say(f"0.00.002.000 E llama_model_load: error loading model: {behaviour.load_error or 'no model'}")
        sys.exit(1)
    if behaviour.signal_at_load:
        os.kill(os.getpid(), behaviour.signal_at_load)
    lost = Path("lost-port")  # in its own folder
    if behaviour.loses_first_port and not lost.exists():
        lost.touch()
        _say(f"0.00.002.000 E srv  start: couldn't bind HTTP server socket, port: {options['--port']}")
        sys.exit(1)
    if int(options["--n-gpu-layers"]) > behaviour.most_layers:
        _say("0.00.002.000 E llama_model_load: error loading model: unable to allocate CUDA0 buffer")
        sys.exit(1)
    if behaviour.layers_log:
        _say(f"0.00.003.000 I load_tensors: {behaviour.layers_log}")
    _serve(options, ignores_key=behaviour.ignores_key)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    left = list(words)
    while left:
        name = left.pop(0)
        options[name] = "" if name in _FLAGS else left.pop(0)
    return options


def _serve(options: dict[str, str], *, ignores_key: bool) -> None:
    # Who only asks what the program is need not wait for the library.
    import xllamacpp  # type: ignore[import-untyped]  # noqa: PLC0415  # the wheel carries no types

    params = xllamacpp.CommonParams()
    params.model.path = options["--model"]
    params.n_gpu_layers = int(options["--n-gpu-layers"])
    params.cpuparams.n_threads = int(options["--threads"])
    params.cpuparams_batch.n_threads = int(options["--threads-batch"])
    params.n_parallel = int(options["--parallel"])
    params.n_ctx = int(options["--ctx-size"])
    params.n_batch = int(options["--batch-size"])
    params.n_ubatch = int(options["--ubatch-size"])
    params.kv_unified = "--no-kv-unified" not in options
    params.ctx_shift = "--no-context-shift" not in options
    params.fit_params = options["--fit"] != "off"
    params.cache_ram_mib = int(options["--cache-ram"])
    params.cache_idle_slots = "--no-cache-idle-slots" not in options
    params.warmup = "--no-warmup" not in options
    params.chat_template = options["--chat-template"]
    params.slot_save_path = options.get("--slot-save-path", "")
    if "--spec-type" in options:
        params.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_n = int(options["--spec-ngram-simple-size-n"])
        params.speculative.ngram_simple.size_m = int(options["--spec-ngram-simple-size-m"])
    params.hostnames = [options["--host"]]
    params.port = int(options["--port"])
    params.api_keys = [] if ignores_key else [_line_of(options["--api-key-file"])]
    params.cors_origins = options["--cors-origins"]
    params.ui = "--no-webui" not in options
    params.endpoint_slots = "--slots" in options
    params.sse_ping_interval = int(options["--sse-ping-interval"])
    params.verbosity = 2
    server = xllamacpp.Server(params)
    _say(f"0.00.004.000 I srv  llama_server: listening on {server.listening_address}")
    signal.pause()


def _line_of(file: str) -> str:
    return Path(file).read_text(encoding="ascii").strip()
