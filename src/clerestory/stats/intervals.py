"""How far a rate or a figure may be off."""

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
    "newcombe",
    "wilson",
]


TINY = 1e-9
"""Hits that are a rate times a count are off by less than this from whole ones."""
Real = float | int  # said in full: beartype takes an int for no float


class Interval(NamedTuple):
    """Both ends of an interval."""

    low: float
    high: float


def wilson(hits: Real, of: Real, level: float = 0.95) -> Interval:
    """Interval of a rate: close to its stated level on average. `hits` may be a fraction.

    Source: Wilson 1927, as in `scipy.stats.binomtest(…).proportion_ci("wilson")`.

    >>> low, high = wilson(9, 10)
    >>> round(low, 4), round(high, 4)
    (0.5958, 0.9821)
    """
    _checked(hits, of)
    z = float(stats.norm.ppf(0.5 + level / 2))
    rate = hits / of
    middle = (rate + z * z / (2 * of)) / (1 + z * z / of)
    reach = z / (1 + z * z / of) * np.sqrt(rate * (1 - rate) / of + z * z / (4 * of * of))
    low = 0.0 if hits == 0 else middle - reach
    high = 1.0 if hits == of else middle + reach
    return Interval(float(low), float(high))


def newcombe(hits: Real, of: Real, others: Real, other_of: Real, level: float = 0.95) -> Interval:
    """Interval of a rate less another, taken for independent: of pairs it is wider than it need be.

    Source: Newcombe 1998, method 10.

    >>> low, high = newcombe(56, 70, 48, 80)
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    one, other = wilson(hits, of, level), wilson(others, other_of, level)
    rate, beside = hits / of, others / other_of
    down = np.hypot(rate - one.low, other.high - beside)
    up = np.hypot(one.high - rate, beside - other.low)
    return Interval(float(rate - beside - down), float(rate - beside + up))


def clopper_pearson(hits: Real, of: Real, level: float = 0.95) -> Interval:
    """Interval of a rate that holds at least its level, also near 0 and 1.

    Half hits (ties) widen it: the low end counts them as misses, the high end as hits.
    Source: Clopper & Pearson 1934, as in `scipy.stats.binomtest(…).proportion_ci("exact")`.

    >>> low, high = clopper_pearson(30, 30)
    >>> round(low, 4), high
    (0.8843, 1.0)
    """
    _checked(hits, of)
    tail = (1 - level) / 2
    least, most = np.floor(hits + TINY), np.ceil(hits - TINY)
    low = 0.0 if least == 0 else float(special.betaincinv(least, of - least + 1, tail))
    high = 1.0 if most == of else float(special.betaincinv(most + 1, of - most, 1 - tail))
    return Interval(low, high)


def bootstrap_auroc(
    shown: Float[np.ndarray, " content"],
    absent: Float[np.ndarray, " content"],
    *,
    rng: np.random.Generator,
    draws: int = 2_000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of `auroc` over contents drawn anew, both sides of each together.

    Every pair of contents is compared once; a draw weighs the comparisons by how often it has each.
    It is too narrow for few contents and near 1: report an exact one beside it. Source: Efron 1979.

    >>> one, rng = np.arange(30.0), np.random.default_rng(0)
    >>> bootstrap_auroc(one + 40, one, rng=rng)
    Interval(low=1.0, high=1.0)
    """
    count = len(shown)
    if not count:
        raise EvidenceError("No content to draw from: an interval needs at least one.")
    picks = rng.integers(count, size=(count, draws))
    weights = np.stack([(picks == content).sum(0) for content in range(count)], 1).astype(float)
    apart = shown[:, None] - absent[None, :]
    won = (apart > 0) + 0.5 * (apart == 0)
    figures = ((weights @ won) * weights).sum(1) / count**2
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_means(
    values: Float[np.ndarray, " replicate *many"],
    *,
    rng: np.random.Generator,
    groups: Int[np.ndarray, " replicate"] | None = None,
    draws: int = 2_000,
    level: float = 0.95,
) -> tuple[Float[np.ndarray, " *many"], Float[np.ndarray, " *many"]]:
    """Both ends of percentile intervals of means over replicates, the same draws for all.

    Replicates of one of the `groups` are drawn together. Too narrow for few replicates or groups,
    and of no width where they are all alike. Source: Efron 1979; for groups Davison & Hinkley 1997.

    >>> low, high = bootstrap_means(np.ones((3, 1)), rng=np.random.default_rng(0))
    >>> low, high
    (array([1.]), array([1.]))
    """
    count = len(values)
    if not count:
        raise EvidenceError("No replicate to draw from: an interval needs at least one.")
    names, place = np.unique(np.arange(count) if groups is None else groups, return_inverse=True)
    picks = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)[:, place]
    means = np.tensordot(picks / picks.sum(1, keepdims=True), values, axes=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def _checked(hits: Real, of: Real) -> None:
    if not 0 <= hits <= of or of <= 0:
        raise EvidenceError(f"{hits:g} hits of {of:g} make no rate: 0 ≤ hits ≤ of, of > 0.")
