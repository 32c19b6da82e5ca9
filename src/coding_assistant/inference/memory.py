"""How much memory a model will take, said before it is loaded, and how much there is.

The plan counts what must stay resident: weights once, cache and compute buffers. While a model loads, the
engine repacks part of the weights into memory of its own, so that a process list shows these twice; the
file's pages behind the copies are the kernel's to take back. Knows nothing of the engine's process.
"""

from pathlib import Path, PurePosixPath
from typing import Final

import psutil

from coding_assistant.domain import MemoryPlan
from coding_assistant.errors import NotEnoughMemory
from coding_assistant.inference.gguf import GgufHeader

# Measured on llama.cpp's server in the xllamacpp wheel, with models of 0.1 to 1.5 billion parameters and
# batches of 128 to 512. The logits of a whole batch are reserved as well, but only those of the last token
# are ever written, so that they do not become resident.
_PROCESS_BYTES: Final = 32 * 1024 * 1024
_VOCABULARY_BYTES_PER_TOKEN: Final = 480
_ACTIVATION_BYTES_PER_EMBEDDING_VALUE: Final = 96

_SMALLEST_USEFUL_CONTEXT_TOKENS: Final = 1_024
_CONTEXT_STEP_TOKENS: Final = 256  # llama.cpp pads a context to it

_NO_LIMIT: Final = 2**62
"""cgroup v1 writes "no limit" as the largest whole number of pages, which is somewhat below 2^63."""


def plan_memory(header: GgufHeader, *, context_tokens: int, slots: int, batch_tokens: int) -> MemoryPlan:
    """Plan for ``slots`` conversations of ``context_tokens`` each, on this machine as it is now."""
    compute = (
        _PROCESS_BYTES
        + _VOCABULARY_BYTES_PER_TOKEN * header.vocabulary_size
        + _ACTIVATION_BYTES_PER_EMBEDDING_VALUE * header.embedding_length * batch_tokens
    )
    return MemoryPlan(
        weights=header.tensor_bytes,
        kv_cache=header.kv_bytes_per_token * context_tokens * slots,
        compute=compute,
        available=available_bytes(),
    )


def require_fit(plan: MemoryPlan, *, context_tokens: int, slots: int) -> None:
    """Raise ``NotEnoughMemory``, saying what would fit, unless the plan fits.

    ``context_tokens`` and ``slots`` are those of the plan.
    """
    if plan.fits:
        return
    raise NotEnoughMemory(
        f"The model needs {size_in_words(plan.needed)} of memory: "
        f"{size_in_words(plan.weights)} for its weights, "
        f"{size_in_words(plan.kv_cache)} for {slots} slots of {context_tokens:,} tokens of context and "
        f"{size_in_words(plan.compute)} to compute. {size_in_words(plan.available)} are available.",
        hint=_what_fits(plan, context_tokens=context_tokens, slots=slots),
    )


def available_bytes(root: Path = Path("/")) -> int:
    """Return the memory that a new process could take now: the machine's, or less in a control group.

    ``root`` is where the kernel's ``proc`` and ``sys`` are found.
    """
    return min([psutil.virtual_memory().available, *_left_in_groups(root)])


def size_in_words(size: int) -> str:
    """Write a number of bytes for a person, in the decimal units that downloads are given in."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"  # noqa: PLR2004  -- the units


def _what_fits(plan: MemoryPlan, *, context_tokens: int, slots: int) -> str:
    """Suggest the gentlest change: fewer slots, then a shorter context, then a smaller model."""
    left = plan.available - plan.weights - plan.compute
    fitting_slots = left // max(1, plan.kv_cache // slots)
    if fitting_slots >= 1:
        return f"It would fit with {fitting_slots} of {slots} slots."
    fitting_tokens = left // max(1, plan.kv_cache // (slots * context_tokens))
    fitting_tokens -= fitting_tokens % _CONTEXT_STEP_TOKENS
    if fitting_tokens >= _SMALLEST_USEFUL_CONTEXT_TOKENS:
        return f"It would fit with one slot and a context of {fitting_tokens:,} tokens."
    return "Close other programs, or choose a smaller model: `coding-assistant models list` shows them."


def _left_in_groups(root: Path) -> list[int]:
    """Return what the memory limits of this process's control group and of its parents leave."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    left = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, files = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # Inside a container the group's own folder may be mounted as the root, so the root counts too.
        folder = PurePosixPath(group.lstrip("/"))
        left += [_left_in_group(mount / each, *files) for each in (folder, *folder.parents)]
    return [size for size in left if size is not None]


def _left_in_group(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> int | None:
    """Return limit minus usage, with the file cache that the kernel can take back; None when unlimited."""
    try:
        limit_text = (folder / limit_file).read_text(encoding="ascii").strip()
        usage = int((folder / usage_file).read_text(encoding="ascii"))
        statistics = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    if limit_text == "max" or int(limit_text) >= _NO_LIMIT:
        return None
    cache = sum(int(line.split()[1]) for line in statistics if line.split()[0] == cache_key)
    return max(0, int(limit_text) - usage + cache)
