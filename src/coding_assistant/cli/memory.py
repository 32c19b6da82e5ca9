"""What a model will take of the memory, in words: before a load, and in full."""

from collections.abc import Iterator

from coding_assistant.cli.screen import Screen, Span
from coding_assistant.domain import Bound, MemoryPlan, ModelSpec
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.memory import context_in_words, plan_in_words, size_in_words
from coding_assistant.settings import Settings

_MEGABYTE = 1_000_000


def say_plan(screen: Screen, catalog: Catalog, spec: ModelSpec, settings: Settings) -> None:
    """Say, to a person, what a model is about to take."""
    if not screen.is_terminal:
        return
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.assistant import memory_plan  # noqa: PLC0415

    plan = memory_plan(spec, catalog, settings)
    if plan:
        screen.line(Span(f"{spec.name}: {plan_in_words(plan)}", "dim"))


def memory_rows(plan: MemoryPlan, settings: Settings) -> Iterator[tuple[str, str]]:
    """Return the plan as rows of a table: what is needed, whether it fits, and what lies on disk."""
    bound = "" if plan.bound is Bound.EXACT else f"{plan.bound} "
    parts = (
        f"{size_in_words(plan.weights)} weights, {size_in_words(plan.kv_cache)} context"
        f" ({context_in_words(plan)}), {size_in_words(plan.compute)} computing"
    )
    yield "memory", f"{bound}{size_in_words(plan.needed)}: {parts}"
    fits = "fits" if plan.fits else "does not fit"
    yield "", f"{fits}: {size_in_words(plan.available)} are available now"
    if plan.reduction:
        yield "", f"the context is shorter than set: {plan.reduction}"
    if settings.snapshot_megabytes:
        each, most = plan.kv_cache // plan.slots, settings.snapshot_megabytes * _MEGABYTE
        on_disk = f"up to {size_in_words(each)} a conversation and {size_in_words(most)} in all"
        yield "snapshots", f"no memory; on disk, {on_disk}"
