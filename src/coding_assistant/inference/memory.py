"""How much memory a model will take, said before it is loaded, and how much there is.

The plan counts what has to stay in memory, or the machine swaps, thrashes or kills: the engine's own memory,
and the pages of the model's file that it reads again and again. A process list shows more. While a model
loads, the engine repacks part of the weights into memory of its own, and the file's pages behind these copies
stay mapped until the kernel needs them elsewhere. Knows nothing of the engine's process.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from coding_assistant.domain import Bound, MemoryPlan
from coding_assistant.errors import NotEnoughMemory
from coding_assistant.inference.control_groups import memory_left
from coding_assistant.inference.gguf import GgufHeader

# Measured by bench/engine_bench/memory.py on llama.cpp's server in the xllamacpp wheel, batches of 128. The
# plan is 1.05 of what was seen for SmolLM2 135M and 1.04 for Qwen2.5-Coder 0.5B. With flash attention, and
# without the scores, it was 0.99 for the shape of Phi-3 Mini and 1.00 for that of Llama 3.1 8B. Logits of a
# whole batch are reserved as well, but only those of the last token are ever written: they do not become
# resident.
_PROCESS_BYTES: Final = 28 * 1024 * 1024
_VOCABULARY_BYTES_PER_TOKEN: Final = 420
_ACTIVATION_BYTES_PER_EMBEDDING_VALUE: Final = 64
_SCORE_BYTES: Final = 4  # of each token of a batch with each token of the context, in each head (0017)

# Of the table that turns tokens into vectors only the rows of tokens that occur are ever read.
_READ_PART_OF_TOKEN_TABLE: Final = 0.25

MOST_AUTOMATIC_SLOTS: Final = 4
"""What ``slots = "auto"`` gives at most: with more at once, each answer is too slow to wait for."""

_KEPT_FREE: Final = 0.1
"""What automatic sizes leave of the available memory: whoever chose none should not feel them."""

_AUTOMATIC_STEPS: Final = 8
"""An automatic context goes down by eighths: what was read with another context has to be read again, and the
available memory is never twice the same."""

_SMALLEST_USEFUL_CONTEXT_TOKENS: Final = 1_024
_CONTEXT_STEP_TOKENS: Final = 256  # llama.cpp pads a context to it


def plan_memory(
    header: GgufHeader, *, context_tokens: int, slots: int, batch_tokens: int, available: int | None = None
) -> MemoryPlan:
    """Plan for ``slots`` conversations of ``context_tokens`` each, no longer than the model was trained for.

    ``available`` is by default what this machine has to give now; it is below 0 where others who have not
    taken theirs yet leave less than nothing.
    """
    planned_tokens, reduction = context_tokens, ""
    if context_tokens > header.context_length:
        planned_tokens = header.context_length
        reduction = f"{context_tokens:,} were asked for, the model was trained for no more"
    compute = (
        _PROCESS_BYTES
        + _VOCABULARY_BYTES_PER_TOKEN * header.vocabulary_size
        + _ACTIVATION_BYTES_PER_EMBEDDING_VALUE * header.embedding_length * batch_tokens
        + _SCORE_BYTES * header.heads * planned_tokens * batch_tokens
    )
    return MemoryPlan(
        context_tokens=planned_tokens,
        slots=slots,
        weights=header.tensor_bytes - int(header.token_table_bytes * (1 - _READ_PART_OF_TOKEN_TABLE)),
        kv_cache=slots * header.cache.slot_bytes(planned_tokens, batch_tokens),
        compute=compute,
        available=available_bytes() if available is None else available,
        kv_bytes_per_token=slots * header.cache.token_bytes,
        bound=header.cache.bound,
        reduction=reduction,
    )


def settled(plan: MemoryPlan) -> MemoryPlan:
    """Return the plan to load with, ``shortened``; raise ``NotEnoughMemory``, saying what would fit."""
    settled_plan = shortened(plan)
    require_fit(settled_plan)
    return settled_plan


def shortened(plan: MemoryPlan) -> MemoryPlan:
    """Return a plan that ``shrinks`` with the longest context that leaves a tenth of the memory free.

    It stays as it is where no context of use would, and so does any other plan.
    """
    if not plan.shrinks:
        return plan
    fitting = _fitting_context(plan, usable=_usable(plan))
    if not _SMALLEST_USEFUL_CONTEXT_TOKENS <= fitting < plan.context_tokens:
        return plan
    eighth = plan.context_tokens // _AUTOMATIC_STEPS
    rounded = fitting - fitting % max(_CONTEXT_STEP_TOKENS, eighth - eighth % _CONTEXT_STEP_TOKENS)
    return _with_context(plan, rounded if rounded >= _SMALLEST_USEFUL_CONTEXT_TOKENS else fitting)


def automatic_slots(
    header: GgufHeader, *, context_tokens: int, batch_tokens: int, available: int | None = None
) -> int:
    """Return how many slots of the whole context leave a tenth of the available memory free: 1 to 4."""
    free = available_bytes() if available is None else available
    for slots in range(MOST_AUTOMATIC_SLOTS, 1, -1):
        plan = plan_memory(
            header, context_tokens=context_tokens, slots=slots, batch_tokens=batch_tokens, available=free
        )
        if plan.needed <= _usable(plan):
            return slots
    return 1


def require_fit(plan: MemoryPlan) -> None:
    """Raise ``NotEnoughMemory``, saying what would fit, unless the plan fits."""
    if plan.fits:
        return
    raise NotEnoughMemory(
        f"The model needs {_bound_in_words(plan)}{size_in_words(plan.needed)} of memory: "
        f"{size_in_words(plan.weights)} for its weights, "
        f"{size_in_words(plan.kv_cache)} for a context of {context_in_words(plan)} and "
        f"{size_in_words(plan.compute)} to compute. {size_in_words(max(0, plan.available))} are available.",
        hint=_what_fits(plan),
        missing_bytes=plan.needed - plan.available,
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


def plan_in_words(plan: MemoryPlan) -> str:
    """Return the plan in one line, and why the context is shorter than was asked for where it is."""
    available = size_in_words(max(0, plan.available))
    line = (
        f"{size_in_words(plan.weights)} weights + {size_in_words(plan.kv_cache)} context"
        f" ({context_in_words(plan)}) + {size_in_words(plan.compute)} computing"
        f" = {_bound_in_words(plan)}{size_in_words(plan.needed)} of {available} available"
    )
    return f"{line}; {plan.reduction}" if plan.reduction else line


def context_in_words(plan: MemoryPlan) -> str:
    """Return how much context there is: ``4 slots of 8,192 tokens``."""
    slots = "" if plan.slots == 1 else f"{plan.slots} slots of "
    return f"{slots}{plan.context_tokens:,} tokens"


def _bound_in_words(plan: MemoryPlan) -> str:
    return "" if plan.bound is Bound.EXACT else f"{plan.bound} "


def _usable(plan: MemoryPlan) -> int:
    return int(plan.available * (1 - _KEPT_FREE))


def _fitting_context(plan: MemoryPlan, *, usable: int) -> int:
    """Return the longest context that fits, in steps that the engine takes it in; below 1 for none.

    Only what a token more or less changes is taken off: windows and states of fixed size stay in the plan.
    """
    excess = plan.needed - usable
    if excess <= 0:
        return plan.context_tokens
    if not plan.kv_bytes_per_token:
        return 0
    fitting = plan.context_tokens + -excess // plan.kv_bytes_per_token
    return fitting - fitting % _CONTEXT_STEP_TOKENS


def _with_context(plan: MemoryPlan, context_tokens: int) -> MemoryPlan:
    saved = (plan.context_tokens - context_tokens) * plan.kv_bytes_per_token
    return replace(
        plan,
        context_tokens=context_tokens,
        kv_cache=plan.kv_cache - saved,
        reduction=f"{plan.context_tokens:,} were asked for, no more fit",
    )


def _what_fits(plan: MemoryPlan) -> str:
    """Suggest the gentlest change: fewer slots, then a shorter context, then a smaller model."""
    slot_bytes = -(-plan.kv_cache // plan.slots)
    slots = (plan.available - plan.weights - plan.compute) // max(1, slot_bytes)
    if 1 <= slots < plan.slots:
        return f"It would fit with {slots:,} of {plan.slots:,} slots: set `slots` to {slots}, or to auto."
    one = replace(
        plan, slots=1, kv_cache=slot_bytes, kv_bytes_per_token=plan.kv_bytes_per_token // plan.slots
    )
    tokens = _fitting_context(one, usable=plan.available)
    if tokens >= _SMALLEST_USEFUL_CONTEXT_TOKENS:
        with_slots = "" if plan.slots == 1 else "one slot and "
        return (
            f"It would fit with {with_slots}a context of {tokens:,} tokens: set `context_tokens` to {tokens},"
            " or to auto."
        )
    return "Close other programs, or choose a smaller model: `coding-assistant models list` shows them."
