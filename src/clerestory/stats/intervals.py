"""Confidence intervals of rates, of differences between rates, and of AUROCs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import special, stats

from clerestory.errors import EvidenceError

__all__ = [
    "Interval",
    "bootstrap_auroc",
    "bootstrap_means",
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
    fewest, most = np.floor(hits + ROUNDING), np.ceil(hits - ROUNDING)
    # The exact limits are quantiles of beta distributions (Clopper & Pearson 1934).
    low = 0.0 if fewest == 0 else float(special.betaincinv(fewest, total - fewest + 1, tail))
    high = 1.0 if most == total else float(special.betaincinv(most + 1, total - most, 1 - tail))
    return Interval(low, high)


def bootstrap_auroc(
    positive: Float[np.ndarray, " item"],
    negative: Float[np.ndarray, " item"],
    *,
    rng: np.random.Generator,
    draws: int = 2_000,
    level: float = 0.95,
) -> Interval:
    """Bootstrap percentile interval of `auroc` over items; both arms of an item stay together.

    Too narrow for few items and near 1: report an exact interval as well.

    Args:
        positive: Value of a unit for each item with the concept.
        negative: Value of the unit for the same item without the concept.
        rng: Draws the resamples.
        draws: Number of resamples.
        level: Coverage, 0 to 1.

    Returns:
        The interval.

    Raises:
        EvidenceError: There is no item.

    Source: Efron 1979.

    >>> values, rng = np.arange(30.0), np.random.default_rng(0)
    >>> bootstrap_auroc(values + 40, values, rng=rng)
    Interval(low=1.0, high=1.0)
    """
    count = len(positive)
    if not count:
        raise EvidenceError("No item to resample: an interval needs at least one.")
    resamples = rng.integers(count, size=(count, draws))
    # How often each item occurs in each resample, `[draw, item]`.
    weights = np.stack([(resamples == item).sum(0) for item in range(count)], 1).astype(float)
    # Every pair of items is compared once, and a resample weights the comparison by how often both
    # occur in it. That is much faster than ranking each resample.
    differences = positive[:, None] - negative[None, :]
    wins = (differences > 0) + 0.5 * (differences == 0)
    estimates = ((weights @ wins) * weights).sum(1) / count**2
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_means(
    values: Float[np.ndarray, " replicate *many"],
    *,
    rng: np.random.Generator,
    groups: Int[np.ndarray, " replicate"] | None = None,
    draws: int = 2_000,
    level: float = 0.95,
) -> tuple[Float[np.ndarray, " *many"], Float[np.ndarray, " *many"]]:
    """Bootstrap percentile intervals of means over replicates, with the same resamples throughout.

    Too narrow for few replicates or groups, and of width 0 if all are equal.

    Args:
        values: One row per replicate.
        rng: Draws the resamples.
        groups: Group of each replicate. The replicates of a group are drawn together; by default
            each replicate is a group.
        draws: Number of resamples.
        level: Coverage, 0 to 1.

    Returns:
        The lower and the upper limits.

    Raises:
        EvidenceError: There is no replicate.

    Source: Efron 1979; for groups Davison & Hinkley 1997.

    >>> low, high = bootstrap_means(np.ones((3, 1)), rng=np.random.default_rng(0))
    >>> low, high
    (array([1.]), array([1.]))
    """
    count = len(values)
    if not count:
        raise EvidenceError("No replicate to resample: an interval needs at least one.")
    names, codes = np.unique(np.arange(count) if groups is None else groups, return_inverse=True)
    # How often each replicate, that is its group, occurs in each resample, `[draw, replicate]`.
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)[:, codes]
    # Divided by the sum of each row, since groups of different sizes give resamples of different
    # sizes.
    means = np.tensordot(counts / counts.sum(1, keepdims=True), values, axes=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def _check_counts(hits: Real, total: Real) -> None:
    if not 0 <= hits <= total or total <= 0:
        raise EvidenceError(
            f"{hits:g} hits of {total:g} are not a valid rate: 0 ≤ hits ≤ total, total > 0."
        )
