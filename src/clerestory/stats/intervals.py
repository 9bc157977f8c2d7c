"""Confidence intervals of rates of independent trials."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from clerestory.errors import EvidenceError

__all__ = [
    "Interval",
    "clopper_pearson",
    "wilson",
]


ROUNDING = 1e-9
"""Hits computed as a rate times a count differ from whole numbers by less than this."""
Real = float | int  # `float` alone would not do: beartype refuses an int there


class Interval(NamedTuple):
    """The limits of a confidence interval."""

    low: float
    high: float


def wilson(hits: Real, total: Real, level: float = 0.95) -> Interval:
    """Wilson's score interval of a rate, whose average coverage is close to its level.

    Args:
        hits: Number of successes; fractional if seeds were averaged first.
        total: Number of trials.
        level: Coverage, 0 to 1.

    Returns:
        The interval.

    Raises:
        EvidenceError: The hits are negative or more than the total, or there are no trials.

    Source: Wilson 1927, as in `scipy.stats.binomtest(…).proportion_ci("wilson")`, which takes whole
    numbers only.

    >>> low, high = wilson(9, 10)
    >>> round(low, 4), round(high, 4)
    (0.5958, 0.9821)
    """
    _check_counts(hits, total)
    z = float(stats.norm.ppf(0.5 + level / 2))
    rate = hits / total
    # Wilson 1927: the two p at which |rate − p| = z √(p (1 − p) / total).
    center = (rate + z * z / (2 * total)) / (1 + z * z / total)
    margin = (
        z / (1 + z * z / total) * np.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    )
    # Exactly 0 and 1, from which rounding errors would differ a little.
    low = 0.0 if hits == 0 else center - margin
    high = 1.0 if hits == total else center + margin
    return Interval(float(low), float(high))


def clopper_pearson(hits: Real, total: Real, level: float = 0.95) -> Interval:
    """Exact interval of a rate, whose coverage is at least its level, also near 0 and 1.

    Args:
        hits: Number of successes. Half hits (ties) widen the interval: they count as failures for
            the lower limit, as successes for the upper one.
        total: Number of trials.
        level: Minimum coverage, 0 to 1.

    Returns:
        The interval.

    Raises:
        EvidenceError: The hits are negative or more than the total, or there are no trials.

    Source: Clopper & Pearson 1934, as in `scipy.stats.binomtest(…).proportion_ci("exact")`, which
    takes whole numbers only.

    >>> low, high = clopper_pearson(30, 30)
    >>> round(low, 4), high
    (0.8843, 1.0)
    """
    _check_counts(hits, total)
    tail = (1 - level) / 2
    # Hits that are no whole number are rounded outwards at both ends, so that coverage is kept.
    fewest, most = np.floor(hits + ROUNDING), np.ceil(hits - ROUNDING)
    # The exact limits are quantiles of beta distributions (Clopper & Pearson 1934).
    low = 0.0 if fewest == 0 else float(special.betaincinv(fewest, total - fewest + 1, tail))
    high = 1.0 if most == total else float(special.betaincinv(most + 1, total - most, 1 - tail))
    return Interval(low, high)


def _check_counts(hits: Real, total: Real) -> None:
    if not 0 <= hits <= total or total <= 0:
        raise EvidenceError(
            f"{hits:g} hits of {total:g} are not a valid rate: 0 ≤ hits ≤ total, total > 0."
        )
