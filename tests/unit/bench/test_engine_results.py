from pathlib import Path

from engine_bench.arms import FIRST_TOKENS
from engine_bench.report import summary
from engine_bench.results import Measured, Model, Results, What, read_results, write_results


def figure(arm: str, what: What, value: float, *, size: int = 0, round_number: int = 0) -> Measured:
    return Measured("phi3-mini", arm, round_number, what, size, size, value)


def results_of(*figures: Measured) -> Results:
    return Results(
        commit="abcdef0",
        processor="A processor",
        threads=2,
        copied_bytes_per_second=20e9,
        engines={"native": "b1 AVX512", "bundled": "b2 AVX2"},
        models=[Model("phi3-mini", weight_bytes=2_000_000_000, kv_bytes_per_token=0)],
        measured=list(figures),
    )


def test_the_median_of_the_rounds_counts() -> None:
    speeds = (10.0, 90.0, 12.0)
    results = results_of(
        *(figure("native, bare", "read", each, size=512, round_number=n) for n, each in enumerate(speeds))
    )

    assert results.median("phi3-mini", "native, bare", "read", 512) == 12.0
    assert results.median("phi3-mini", "native, bare", "read", 2_048) is None


def test_engines_are_compared_and_the_first_version_stands_beside_them() -> None:
    text = summary(
        results_of(
            figure("native, bare", "read", 160.0, size=512),
            figure("bundled, bare", "read", 80.0, size=512),
            figure("native, llama-bench", "read", 164.0, size=512),
            figure("native, our API", "read", 162.0, size=512),
            figure("native, bare", "first token", 9.5, size=FIRST_TOKENS),
        )
    )

    assert "native, bare over bundled, bare: read 512 2.00" in text
    assert "native, our API over native, llama-bench: read 512 0.99" in text
    assert "13 s to load" in text


def test_the_bound_of_the_memory_is_told() -> None:
    assert "bound by memory at about 10/s at 0" in summary(results_of())


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = results_of(figure("native, bare", "load", 1.5))
    write_results(results, tmp_path / "results.json")

    assert read_results(tmp_path / "results.json") == results
