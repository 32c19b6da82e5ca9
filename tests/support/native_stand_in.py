"""A stand-in for the native model library, put before the real one on the engine process's import path.

What really goes wrong in a native library cannot be had on order: a missing system library, an illegal
instruction, a kill for want of memory, a load that never ends, a parameter that a new build has renamed.
"""

from pathlib import Path

import pytest

_PARAMETERS = """
class ggml_type:
    GGML_TYPE_F16 = 1

class llama_flash_attn_type:
    LLAMA_FLASH_ATTN_TYPE_DISABLED = 0

class Anything:
    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        value = Anything()
        object.__setattr__(self, name, value)
        return value

CommonParams = Anything
"""

MISSING_LIBRARY = (
    'raise ImportError("libgomp.so.1: cannot open shared object file: No such file or directory")'
)
ILLEGAL_INSTRUCTION = (
    _PARAMETERS + "import os, signal\ndef Server(params): os.kill(os.getpid(), signal.SIGILL)"
)
OUT_OF_MEMORY_KILL = (
    _PARAMETERS + "import os, signal\ndef Server(params): os.kill(os.getpid(), signal.SIGKILL)"
)
_REFUSAL = """
import sys
def Server(params):
    print("E llama_model_load: error loading model: REASON", file=sys.stderr)
    raise RuntimeError("Failed to init server")
"""
NO_MEMORY = _PARAMETERS + _REFUSAL.replace("REASON", "unable to allocate CPU buffer")
UNKNOWN_ARCHITECTURE = _PARAMETERS + _REFUSAL.replace("REASON", "unknown model architecture: 'next'")
ENDLESS_LOAD = _PARAMETERS + "import signal\ndef Server(params): signal.pause()"
_ANNOUNCEMENT = "import json\ndef Server(params):\n    json.dumps = lambda _: TEXT\n    return Anything()"
NO_ADDRESS = _PARAMETERS + _ANNOUNCEMENT.replace("TEXT", "'ready'")
ENDLESS_ADDRESS = _PARAMETERS + _ANNOUNCEMENT.replace("TEXT", "'http' * 100_000")
RENAMED_PARAMETER = """
class ggml_type:
    GGML_TYPE_F16 = 1

class CommonParams:
    __slots__ = ()
"""


def put_in_place(source: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have the processes that are started from now on import this instead of the native library."""
    (folder / "xllamacpp.py").write_text(source, encoding="utf-8")
    patch.setenv("PYTHONPATH", str(folder))
