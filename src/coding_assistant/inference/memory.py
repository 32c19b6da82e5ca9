"""How much memory a model will take, said before it is loaded, and how much there is.

The plan counts what must stay resident: weights once, cache and compute buffers. While a model loads, the
engine repacks part of the weights into memory of its own, so that a process list shows these twice; the
file's pages behind the copies are the kernel's to take back. Knows nothing of the engine's process.
"""

from pathlib import Path
from typing import Final

import psutil

from coding_assistant.domain import MemoryPlan
from coding_assistant.errors import NotEnoughMemory
from coding_assistant.inference.control_groups import memory_left
from coding_assistant.inference.gguf import GgufHeader

# Measured on llama.cpp's server in the xllamacpp wheel, with models of 0.1 to 1.5 billion parameters and
# batches of 128 to 512. The logits of a whole batch are reserved as well, but only those of the last token
# are ever written, so that they do not become resident.
_PROCESS_BYTES: Final = 32 * 1024 * 1024
_VOCABULARY_BYTES_PER_TOKEN: Final = 480
_ACTIVATION_BYTES_PER_EMBEDDING_VALUE: Final = 96

_SMALLEST_USEFUL_CONTEXT_TOKENS: Final = 1_024
_CONTEXT_STEP_TOKENS: Final = 256  # llama.cpp pads a context to it


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
    machine, group = psutil.virtual_memory().available, memory_left(root)
    return machine if group is None else min(machine, group)


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
