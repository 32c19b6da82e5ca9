"""What tells one model, vocabulary or kind of snapshot from another, wherever its file lies.

Snapshots and tokens outlive the process that made them. Used with another model than the one they came from
they would not fail, they would make it talk nonsense.
"""

import hashlib
from dataclasses import astuple
from pathlib import Path
from typing import Final

from coding_assistant.inference.engine_programs import EngineProgram
from coding_assistant.inference.gguf import GgufHeader, Vocabulary
from coding_assistant.inference.server_protocol import ServerSettings

# Two files of one size that differ in their weights differ nearly everywhere; hashing 5 GB takes seconds.
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 4_096

_DIGEST_BYTES: Final = 16

# What llama.cpp is left to decide or always told, as ``llama_server.parameters`` has it: raise it whenever
# these change what lies in the cache (its type, f16; flash attention, only with layers on a GPU).
_CACHE_FORMAT: Final = "f16-off-2"


def vocabulary_identity(vocabulary: Vocabulary, prompt_format: str) -> str:
    """Return what is the same wherever tokens, in this format, mean the same."""
    digest = hashlib.blake2b(prompt_format.encode(), digest_size=_DIGEST_BYTES)
    # Not UTF-8 alone: a broken name is as good as any.
    digest.update("\0".join(vocabulary.tokens).encode(errors="surrogatepass"))
    digest.update("\0".join(map(str, vocabulary.types)).encode())
    return digest.hexdigest()


def snapshot_identity(
    file: Path, header: GgufHeader, settings: ServerSettings, program: EngineProgram
) -> str:
    """Return what is the same wherever one process can go on with what another has saved.

    The model's file by its size, header and samples of its weights, the program that runs it, and how.
    Reads some megabytes. Raises ``OSError``.
    """
    how = (_model_identity(file, header), *_program_identity(program), _CACHE_FORMAT)
    run = (str(settings.context_tokens), str(settings.gpu_layers))
    return hashlib.blake2b("\0".join((*how, *run)).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _program_identity(program: EngineProgram) -> tuple[str, ...]:
    """Return what changes with every build: a binary may not know its own version."""
    if program.file is None:
        return (program.version,)
    state = program.file.stat()
    return (program.version, str(state.st_size), str(state.st_mtime_ns))


def _model_identity(file: Path, header: GgufHeader) -> str:
    digest = hashlib.blake2b(str(astuple(header)).encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES)
    with file.open("rb") as model:
        size = model.seek(0, 2)
        model.seek(0)
        digest.update(model.read(max(_SAMPLE_BYTES, header.file_bytes - header.tensor_bytes)))
        for sample in range(1, _SAMPLES + 1):
            model.seek(max(0, size * sample // _SAMPLES - _SAMPLE_BYTES))
            digest.update(model.read(_SAMPLE_BYTES))
    return digest.hexdigest()
