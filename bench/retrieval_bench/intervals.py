"""How sure a difference is: paired bootstrap over repositories.

Questions about one repository stand and fall together, so whole repositories are drawn, with replacement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
CONFIDENCE = 0.95
SEED = 20_240_501  # any; fixed, so that a table can be repeated to the last digit


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference over all questions and the interval that holds it with ``CONFIDENCE``."""

    mean: float
    low: float
    high: float


def mean_interval(values_by_cluster: Sequence[Sequence[float]]) -> Interval | None:
    """Return the mean of all values with its interval; None where fewer than two clusters have values.

    With paired differences as values, a difference is beyond chance where the interval leaves out 0.
    """
    clusters = [values for values in values_by_cluster if values]
    if len(clusters) < 2:  # noqa: PLR2004  -- there is nothing to draw from
        return None
    sums = np.array([sum(values) for values in clusters])
    sizes = np.array([len(values) for values in clusters])
    draws = np.random.default_rng(SEED).integers(len(clusters), size=(DRAWS, len(clusters)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(sums.sum() / sizes.sum()), float(low), float(high))
