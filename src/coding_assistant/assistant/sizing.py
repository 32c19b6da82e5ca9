"""How large a model is run: what the settings ask for, and what ``auto`` makes of it."""

from dataclasses import replace

from coding_assistant.domain import MemoryPlan, ModelSpec
from coding_assistant.errors import InvalidModel, ModelBroken, ModelMissing
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.gguf import GgufHeader
from coding_assistant.inference.memory import (
    MOST_AUTOMATIC_SLOTS,
    automatic_slots,
    available_bytes,
    plan_memory,
    shortened,
)
from coding_assistant.settings import AUTOMATIC, Settings


def sized(spec: ModelSpec, catalog: Catalog, settings: Settings) -> ModelSpec:
    """Return the entry with the context and the slots to run it with.

    An automatic context is the entry's, and made shorter at each load if need be; automatic slots are as many
    as fit at this moment, and stay: what is kept of conversations is kept by slots.
    """
    asked = settings.context_tokens
    if isinstance(asked, int):
        notice = _long_context_notice(spec, catalog, context_tokens=asked)
        spec = replace(spec, context_length=asked, notice=notice)
    elif asked == AUTOMATIC:
        spec = replace(spec, shrinks=True)
    return replace(spec, slots=_slots(spec, catalog, settings))


def memory_plan(
    spec: ModelSpec, catalog: Catalog, settings: Settings, *, claimed_bytes: int = 0
) -> MemoryPlan | None:
    """Return what the model takes if it is loaded now; None where its file cannot be read or is elsewhere.

    What would lie on a GPU is counted as well. ``claimed_bytes`` are other models' that count as available.
    """
    header = None if spec.address else _header(spec, catalog)
    if header is None:
        return None
    plan = plan_memory(
        header,
        context_tokens=spec.context_length,
        slots=spec.slots,
        batch_tokens=settings.batch_tokens,
        available=available_bytes() - claimed_bytes,
    )
    return shortened(replace(plan, shrinks=spec.shrinks))


def _slots(spec: ModelSpec, catalog: Catalog, settings: Settings) -> int:
    if isinstance(settings.slots, int):
        return settings.slots
    if spec.address:
        return MOST_AUTOMATIC_SLOTS  # the memory is the server's
    header = _header(spec, catalog)
    if header is None:
        return 1
    return automatic_slots(header, context_tokens=spec.context_length, batch_tokens=settings.batch_tokens)


def _long_context_notice(spec: ModelSpec, catalog: Catalog, *, context_tokens: int) -> str:
    """Return what a context longer than the entry's does to a model with two sets of rope factors.

    llama.cpp picks the set by the configured context, not by the length of a text.
    """
    header = _header(spec, catalog) if context_tokens > spec.context_length else None
    short = header.short_context_length if header else None
    if short is None or not spec.context_length <= short < context_tokens:
        return ""
    longer = [
        other.name
        for other in catalog.specs
        if other.filename == spec.filename and other.context_length > short
    ]
    profile = f" {longer[0]} is the same file set up for long conversations." if longer else ""
    return (
        f"With more than {short:,} tokens of context, {spec.name} reads every text in the way made for long"
        f" ones (long rope factors), also short ones, and answers these less well.{profile}"
    )


def _header(spec: ModelSpec, catalog: Catalog) -> GgufHeader | None:
    """Return the file's header; None where there is none: what is wrong with it is said when it is loaded."""
    try:
        return catalog.header_of(spec)
    except (ModelMissing, ModelBroken, InvalidModel):
        return None
