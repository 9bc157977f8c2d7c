"""Confidence intervals of ratios of means."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.stats.intervals import Interval

__all__ = ["ratio_interval"]


def ratio_interval(
    numerators: Float[np.ndarray, " replicate"],
    denominators: Float[np.ndarray, " replicate"],
    level: float = 0.95,
) -> Interval:
    """Interval of the mean of one variable divided by the mean of another, over paired replicates.

    Unlike the mean of ratios, the ratio of means is not thrown off by a replicate whose denominator
    is near 0. Where all replicates have the same ratio the interval has no width.

    Args:
        numerators: One value for each replicate.
        denominators: The other value of each, in the same order.
        level: Coverage.

    Returns:
        The interval; (−inf, inf) where the mean denominator may be 0 at this level, and (NaN, NaN)
        where a value is NaN.

    Raises:
        EvidenceError: There are fewer than two replicates.

    Source: Fieller 1954, with Student's t.

    >>> low, high = ratio_interval(np.array([2.5, 3.0, 3.6]), np.array([5.0, 6.0, 7.0]))
    >>> round(low, 3), round(high, 3)
    (0.471, 0.522)
    """
    count = len(numerators)
    if count < 2 or count != len(denominators):
        raise EvidenceError(
            f"{count} and {len(denominators)} replicates: an interval needs at least two pairs."
        )
    if np.isnan(numerators).any() or np.isnan(denominators).any():
        return Interval(np.nan, np.nan)
    top, bottom = float(numerators.mean()), float(denominators.mean())
    # Variances and the covariance of the two means.
    (own, both), (_, other) = np.cov(numerators, denominators) / count
    squared = float(stats.t.ppf(0.5 + level / 2, count - 1)) ** 2
    # The ratios R for which mean(top − R bottom) does not differ from 0: a quadratic inequality.
    quadratic = bottom**2 - squared * other
    linear = top * bottom - squared * both
    constant = top**2 - squared * own
    if quadratic <= 0:
        return Interval(-np.inf, np.inf)
    # Not negative but for rounding, since the ratio of means itself solves the inequality.
    root = np.sqrt(max(linear**2 - quadratic * constant, 0.0))
    return Interval(float((linear - root) / quadratic), float((linear + root) / quadratic))
