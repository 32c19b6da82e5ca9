"""The engine's process: llama.cpp's server on a loopback port, for its parent alone.

Run as ``python -m coding_assistant.inference.llama_server`` by ``server_process``, which is the only one to
know its language. Imports nothing of the product but the two messages, so that it starts fast.
"""

import ctypes
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import xllamacpp  # type: ignore[import-untyped]  # the wheel carries no types

from coding_assistant.inference.server_protocol import ServerReady, ServerSettings

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>

# Out of 1000. When memory runs out, the kernel is to take the engine, which can be started again, and
# neither the service with its conversations nor the user's editor.
_OOM_SCORE_ADJUSTMENT: Final = "500"

# Warnings and errors. The next level writes six lines a question; no level up to it writes prompts.
_LOG_LEVEL: Final = 2

# The parent watches the events of an answer. A comment in between says that an HTTP thread lives, which
# says nothing of the model.
_NO_PINGS: Final = -1

# A snapshot is as private as the conversation that it was made of.
_OWNER_ONLY: Final = 0o077

# So many tokens must have stood in the same order before, and so many that followed them are guessed.
# Measured with Qwen2.5-Coder 1.5B, in processor time: a function written once more takes two thirds; where
# code was explained or a short answer given, nothing was guessed. After 8 equal tokens, guesses went wrong
# there, and a short answer took a tenth longer. The library's own 48 guessed tokens are for GPUs.
_SAME_TOKENS: Final = 12
_MOST_GUESSED_TOKENS: Final = 12


def main() -> None:
    """Serve until the parent closes standard input or ends."""
    settings = ServerSettings.from_line(sys.stdin.buffer.readline())
    # The terminal sends Ctrl-C to all of its processes: it stops an answer, and must not take away all that
    # was read.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    announcements = _take_standard_output()
    _volunteer_for_out_of_memory()
    _step_back(settings.niceness)
    os.umask(_OWNER_ONLY)
    server = xllamacpp.Server(parameters(settings))  # returns when the model is loaded
    os.write(announcements, ServerReady(server.listening_address).to_line())
    sys.stdin.buffer.read()
    # The parent is gone or wants the memory back: destructors would wait for the batch at work.
    os._exit(0)


def parameters(settings: ServerSettings) -> xllamacpp.CommonParams:
    """Return the settings in llama.cpp's terms, nothing left to a default that could bite.

    A name that this build of llama.cpp lacks raises ``AttributeError``: its names change from month to month.
    """
    params = xllamacpp.CommonParams()
    params.model.path = settings.model_file
    params.n_gpu_layers = settings.gpu_layers
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads

    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context_tokens
    params.kv_unified = False  # each slot has its own part: one conversation cannot fill another's
    params.ctx_shift = False  # a full context is an error, not a silent cut
    params.fit_params = False  # the plan was made, and checked against the memory, before
    params.n_batch = _batch_tokens(settings)
    params.n_ubatch = _batch_tokens(settings)
    params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F16  # quantised, a CPU reads it a row at a time
    params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F16
    params.cache_prompt = True
    # The cache across slots takes up to 8 GiB and has shown one conversation's text to another
    # (llama.cpp issue 27148).
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.warmup = False

    if settings.snapshot_folder:
        params.slot_save_path = settings.snapshot_folder + os.sep
    if settings.speculates:
        _speculate(params)

    params.embedding = settings.embedding
    if settings.mean_pooling:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN

    params.hostnames = ["127.0.0.1"]
    params.port = 0  # the system chooses a free one
    params.api_keys = [settings.api_key]
    params.cors_origins = "localhost"
    params.ui = False
    params.endpoint_slots = True
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.sse_ping_interval = _NO_PINGS
    params.verbosity = _LOG_LEVEL
    return params


def _batch_tokens(settings: ServerSettings) -> int:
    """Return the size of a batch, with room for what every slot may guess: else all slots' answers fail."""
    guessed = 1 + _MOST_GUESSED_TOKENS if settings.speculates else 1
    return max(settings.batch_tokens, settings.slots * guessed)


def _speculate(params: xllamacpp.CommonParams) -> None:
    """Guess that what followed the same tokens before, in the prompt or the answer, follows them again."""
    speculative = params.speculative
    speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    speculative.ngram_simple.size_n = _SAME_TOKENS
    speculative.ngram_simple.size_m = _MOST_GUESSED_TOKENS


def _take_standard_output() -> int:
    """Return where to announce; whatever the native library prints goes to the log instead."""
    announcements = os.dup(1)
    os.dup2(2, 1)
    return announcements


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent ends, also while the model is loading.

    Elsewhere than on Linux the end of standard input does it, which is seen once the model is loaded.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before that; it never writes a second line, so what can be read is the end.
    if select.select([sys.stdin], [], [], 0)[0]:
        os._exit(1)


def _volunteer_for_out_of_memory() -> None:
    # Absent elsewhere than on Linux, and read-only in some containers.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJUSTMENT, encoding="ascii")


def _step_back(niceness: int) -> None:
    """Let other processes go first. To be called before there are threads: on Linux each has its own."""
    if hasattr(os, "nice"):
        os.nice(niceness)


if __name__ == "__main__":
    main()
