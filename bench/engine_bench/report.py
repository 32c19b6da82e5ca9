"""What a run of the engine's benchmark says, as text."""

from collections.abc import Iterator, Sequence

from engine_bench.arms import ANY_SIZE, FIRST_TOKENS, READ_TOKENS, WRITE_DEPTHS
from engine_bench.results import Model, Results, What

FIRST_VERSION = {
    "phi3-mini": "the first version, Phi-3 Mini: 13 s to load, 32 s to the first token of 681 with the"
    " loading, 13 to 15 tokens/s written, 6 GB at 8,192 tokens"
}
"""What was measured of the product before this one; by the model that it ran."""

_COLUMNS: Sequence[tuple[str, What, int]] = (
    ("load s", "load", ANY_SIZE),
    (f"first of {FIRST_TOKENS}, loaded, s", "first token", FIRST_TOKENS),
    *((f"read {size:,}/s", "read", size) for size in READ_TOKENS),
    *((f"write at {depth:,}/s", "write", depth) for depth in WRITE_DEPTHS),
    ("memory GB", "memory", ANY_SIZE),
)


def summary(results: Results) -> str:
    """Return the table of each model with medians, the ratios, and what memory would allow at most."""
    copied = f"memory is copied at {results.copied_bytes_per_second / 1e9:.1f} GB/s"
    lines = [
        f"{results.processor}, {results.threads} threads; {copied}",
        *(f"{kind}: {version}" for kind, version in results.engines.items()),
    ]
    for model in results.models:
        lines += ["", model.name, *_table(results, model.name), *_ratios(results, model.name)]
        lines += [_ceiling(results, model)]
        lines += [said for name, said in FIRST_VERSION.items() if name in model.name]
    return "\n".join(lines)


def _table(results: Results, model: str) -> Iterator[str]:
    rows = [["", *(title for title, _, _ in _COLUMNS)]]
    for arm in results.arms(model):
        medians = [results.median(model, arm, what, size) for _, what, size in _COLUMNS]
        rows.append(
            [arm, *(_cell(value, what) for value, (_, what, _) in zip(medians, _COLUMNS, strict=True))]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _cell(value: float | None, what: What) -> str:
    if value is None:
        return "-"
    return f"{value / 1e9:.2f}" if what == "memory" else f"{value:.1f}"


def _ratios(results: Results, model: str) -> Iterator[str]:
    """Compare engines with each other, and what stands before an engine with its own benchmark."""
    pairs = [("native, bare", "bundled, bare"), ("native, our API", "bundled, our API")]
    pairs += [(f"native, {way}", "native, llama-bench") for way in ("bare", "our API")]
    pairs += [("bundled, our API", "bundled, bare")]
    for upper, lower in pairs:
        told = []
        for title, what, size in _COLUMNS:
            above, below = results.median(model, upper, what, size), results.median(model, lower, what, size)
            if what in ("read", "write") and above and below:
                told.append(f"{title.removesuffix('/s')} {above / below:.2f}")
        if told:
            yield f"{upper} over {lower}: {', '.join(told)}"


def _ceiling(results: Results, model: Model) -> str:
    """Say how fast writing can be at most: each token reads all weights, and the context before it."""
    told = []
    for depth in WRITE_DEPTHS:
        size = model.weight_bytes + depth * model.kv_bytes_per_token
        told.append(f"{results.copied_bytes_per_second / size:.0f}/s at {depth:,}")
    return f"writing is bound by memory at about {', '.join(told)}"
