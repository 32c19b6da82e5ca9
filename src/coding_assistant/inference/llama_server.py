"""The engine's process: llama.cpp's server on a loopback port, for its parent alone.

Run as ``python -m coding_assistant.inference.llama_server`` by ``server_process``, which is the only one to
know its language. Imports nothing of the product but the two messages, so that it starts fast.
"""

import json
import os
import sys
from typing import Final

import xllamacpp  # type: ignore[import-untyped]  # the wheel carries no types

from coding_assistant.inference import engine_child
from coding_assistant.inference.server_protocol import (
    MOST_GUESSED_TOKENS,
    SAME_TOKENS,
    ServerReady,
    ServerSettings,
)

# Warnings and errors. The next level writes six lines a question, and the one after that also what is put on
# a GPU; neither writes prompts, and the parent keeps none of it.
_LOG_LEVEL: Final = 2
_TELLS_OF_LAYERS: Final = 4

# The parent watches the events of an answer. A comment in between says that an HTTP thread lives, which
# says nothing of the model.
_NO_PINGS: Final = -1

DESCRIBE: Final = "describe"


def main() -> None:
    """Serve until the parent closes standard input or ends; with ``describe`` say what the library can do."""
    if DESCRIBE in sys.argv[1:]:
        sys.stdout.write(json.dumps(description()) + "\n")
        return
    settings = ServerSettings.from_line(sys.stdin.buffer.readline())
    engine_child.settle_in(settings.niceness)
    announcements = _take_standard_output()
    server = xllamacpp.Server(parameters(settings))  # returns when the model is loaded
    os.write(announcements, ServerReady(server.listening_address, process_id=os.getpid()).to_line())
    sys.stdin.buffer.read()
    # The parent is gone or wants the memory back: destructors would wait for the batch at work.
    os._exit(0)


def description() -> dict[str, object]:
    """Return what the library is compiled with, and the GPUs that it sees."""
    types = xllamacpp.ggml_backend_dev_type
    gpus = (types.GGML_BACKEND_DEVICE_TYPE_GPU, types.GGML_BACKEND_DEVICE_TYPE_IGPU)
    return {
        "system_info": xllamacpp.get_system_info(),
        "devices": [
            {
                "name": device["name"],
                "total_bytes": device["memory_total"],
                "free_bytes": device["memory_free"],
            }
            for device in xllamacpp.get_device_info()
            if device["type"] in gpus
        ],
    }


def parameters(settings: ServerSettings) -> xllamacpp.CommonParams:
    """Return the settings in llama.cpp's terms, nothing left to a default that could bite.

    A name that this build of llama.cpp lacks raises ``AttributeError``: its names change from month to month.
    """
    params = xllamacpp.CommonParams()
    params.model.path = settings.model_file
    # Prompts come in tokens. The file's own template would be run as the model is loaded, and a stranger's
    # may have no end.
    params.chat_template = "chatml"
    params.n_gpu_layers = settings.gpu_layers
    if settings.main_gpu is not None:
        params.split_mode = xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE
        params.main_gpu = settings.main_gpu
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads

    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context_tokens
    params.kv_unified = False  # each slot has its own part: one conversation cannot fill another's
    params.ctx_shift = False  # a full context is an error, not a silent cut
    params.fit_params = False  # the plan was made, and checked against the memory, before
    params.n_batch = settings.safe_batch_tokens
    params.n_ubatch = settings.safe_batch_tokens
    if not settings.gpu_layers:  # decision 0017: on a processor it makes writing slower, not faster
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
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
    params.verbosity = _TELLS_OF_LAYERS if settings.gpu_layers else _LOG_LEVEL
    return params


def _speculate(params: xllamacpp.CommonParams) -> None:
    """Guess that what followed the same tokens before, in the prompt or the answer, follows them again."""
    speculative = params.speculative
    speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    speculative.ngram_simple.size_n = SAME_TOKENS
    speculative.ngram_simple.size_m = MOST_GUESSED_TOKENS


def _take_standard_output() -> int:
    """Return where to announce; whatever the native library prints goes to the log instead."""
    announcements = os.dup(1)
    os.dup2(2, 1)
    return announcements


if __name__ == "__main__":
    main()
