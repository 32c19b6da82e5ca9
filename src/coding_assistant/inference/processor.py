"""The processor of this machine: its name, and the instruction sets that a compiler may have used.

The names are the kernel's: ``avx2``, ``avx512_vnni``, ``asimddp``. ``root`` is where its ``proc`` is found.
Elsewhere than on Linux the instruction sets are not known, and none is named.
"""

import os
import platform
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

# What llama.cpp calls the features of its processor code that make a difference, and what the kernel does.
_LLAMA_FEATURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AVX2": "avx2",
        "FMA": "fma",
        "F16C": "f16c",
        "AVX_VNNI": "avx_vnni",
        "AVX512": "avx512f",
        "AVX512_VBMI": "avx512vbmi",
        "AVX512_VNNI": "avx512_vnni",
        "AVX512_BF16": "avx512_bf16",
        "AMX_INT8": "amx_int8",
        "NEON": "asimd",
        "DOTPROD": "asimddp",
        "MATMUL_INT8": "i8mm",
        "SVE": "sve",
    }
)

# What `-march=native` makes code of. The kernel's other flags come and go with its updates.
_INSTRUCTION_SETS: Final = re.compile(
    r"(?:avx|amx|sse|ssse|fma|f16c|bmi|vaes|vpclmul|asimd|sve)\w*"
    r"|pni|abm|adx|movbe|popcnt|gfni|sha_ni|fphp|i8mm|bf16"
)


@dataclass(frozen=True, slots=True)
class Processor:
    """What a program compiled for one machine needs of another."""

    name: str
    features: tuple[str, ...]

    def lacks(self, needed: Iterable[str]) -> tuple[str, ...]:
        """Return those of the features that it does not have; none where its own are not known."""
        return tuple(each for each in needed if each not in self.features) if self.features else ()

    def left_unused(self, engine_features: Collection[str]) -> tuple[str, ...]:
        """Return what it has, in llama.cpp's words, that an engine could use and does not."""
        return tuple(
            ours
            for ours, kernels in _LLAMA_FEATURES.items()
            if kernels in self.features and ours not in engine_features
        )


def this_processor(root: Path = Path("/")) -> Processor:
    """Return the processor that this process runs on."""
    known = _fields(root / "proc/cpuinfo")
    name = known.get("model name") or platform.processor() or platform.machine() or os.name
    flags = (known.get("flags") or known.get("Features") or "").split()
    return Processor(name, tuple(sorted({flag for flag in flags if _INSTRUCTION_SETS.fullmatch(flag)})))


def _fields(file: Path) -> dict[str, str]:
    """Return the fields of the first processor; the others are of its kind."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.strip().partition("\n\n")[0]
    return {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())
    }
