"""Confidence intervals of rates and of their changes, over items, templates and seeds.

All keep their nominal coverage near the ends of the scale, and none has zero width: a rate of 24 in
24 items is not known to be 1. `tests/stats/test_clustered_intervals.py` simulates their coverage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from clerestory.errors import EvidenceError
from clerestory.stats.intervals import Interval

__all__ = ["change_interval", "change_p", "rate_interval", "reachable_limit"]

ALIKE_ITEMS = 5
"""Items with equal cells that are added to the estimate of a rate's effective sample size."""


def rate_interval(
    outcomes: Float[np.ndarray, " item *cell"], *, templates: bool = False, level: float = 0.95
) -> Interval:
    """Interval of a rate over items × seeds, or items × templates × seeds.

    Args:
        outcomes: Outcomes between 0 and 1, one row for each item.
        templates: Whether the second axis is the template, which is then random as items are.
        level: Coverage.

    Returns:
        The interval; (NaN, NaN) where an outcome is NaN.

    Raises:
        EvidenceError: There are fewer than two items.

    Source: Wilson 1927 with the effective sample size of Kish 1965 and Student's t, whose degrees
    of freedom are those of Satterthwaite 1946.

    >>> low, high = rate_interval(np.ones((24, 4)))
    >>> round(low, 3), high
    (0.849, 1.0)
    """
    # One label, since rates are computed for many at once.
    low, high = _effective_rate(outcomes[..., None], templates).limits(level)
    return Interval(float(low[0]), float(high[0]))


def change_interval(
    after: Float[np.ndarray, "item *cell label"],
    before: Float[np.ndarray, "item *cell label"],
    *,
    templates: bool = False,
    level: float | Float[np.ndarray, " label"] = 0.95,
) -> tuple[Float[np.ndarray, " label"], Float[np.ndarray, " label"]]:
    """Intervals of changes of rates on the same items and seeds, one for each label.

    Args:
        after: Outcomes between 0 and 1 with the change.
        before: Outcomes of the same items, templates and seeds without it.
        templates: Whether the second axis is the template, which is then random as items are.
        level: Coverage of each interval.

    Returns:
        Lower and upper limits of the mean of `after` less the mean of `before`.

    Raises:
        EvidenceError: Shapes differ, or there are fewer than two items.

    Source: square-and-add with correlation (method 10 of Newcombe 1998, as in Zou & Donner 2008),
    on the limits of `rate_interval`.

    >>> low, high = change_interval(np.ones((24, 4, 1)), np.zeros((24, 4, 1)))
    >>> round(low.item(), 3), high.item()
    (0.786, 1.0)
    """
    rates = _effective_rate(after, templates), _effective_rate(before, templates)
    return _change_limits(*rates, _correlation(after, before, templates, rates), level)


def change_p(
    after: Float[np.ndarray, "item *cell label"],
    before: Float[np.ndarray, "item *cell label"],
    *,
    templates: bool = False,
) -> Float[np.ndarray, " label"]:
    """Two-sided p of no change: 1 less the level at which `change_interval` ends at 0.

    Args:
        after: Outcomes between 0 and 1 with the change.
        before: Outcomes of the same items, templates and seeds without it.
        templates: Whether the second axis is the template, which is then random as items are.

    Returns:
        One p for each label, to four digits; 1 where both rates are equal.

    Raises:
        EvidenceError: Shapes differ, or there are fewer than two items.

    >>> p = change_p(np.ones((24, 4, 1)), np.zeros((24, 4, 1)))
    >>> bool(p.item() < 1e-6)
    True
    """
    # Bisection of log p. Below 1e-15 the level cannot be told from 1.
    rates = _effective_rate(after, templates), _effective_rate(before, templates)
    correlation = _correlation(after, before, templates, rates)
    least, most = np.full((2, after.shape[-1]), np.array([[np.log(1e-15)], [0.0]]))
    # 20 halvings of log p narrow 35 to less than 1e-4, a relative error of p that no decision
    # sees.
    for _ in range(20):
        middle = (least + most) / 2
        low, high = _change_limits(*rates, correlation, 1 - np.exp(middle))
        excludes = (low > 0) | (high < 0)
        least, most = np.where(excludes, least, middle), np.where(excludes, middle, most)
    # The upper end, so that rounding never makes a change more significant than it is.
    return np.asarray(np.exp(most))


def reachable_limit(
    after: Float[np.ndarray, "item *cell label"],
    before: Float[np.ndarray, "item *cell label"],
    *,
    templates: bool = False,
    level: float = 0.95,
) -> Float[np.ndarray, " label"]:
    """Bound that the one-sided limit of a change seldom exceeds where the rate does not change.

    It is the margin of a change of 0, and what chance adds to the observed change. A design that
    should show that a label changes by less than a bound needs a lower one.

    Args:
        after: Outcomes between 0 and 1 with the change; how they vary beside `before` is used, but
            not by how much they differ on average.
        before: Outcomes of the same items, templates and seeds without it.
        templates: Whether the second axis is the template, which is then random as items are.
        level: One-sided coverage of the limit, two-sided of what chance adds.

    Returns:
        One bound for each label.

    Raises:
        EvidenceError: Shapes differ, or there are fewer than two items.

    >>> outcomes = np.zeros((24, 4, 1))
    >>> round(reachable_limit(outcomes, outcomes).item(), 3)
    0.109
    """
    rates = _effective_rate(after, templates), _effective_rate(before, templates)
    base = rates[1]
    # A one-sided limit at `level` is an end of the two-sided interval at 2 · level − 1.
    low, high = base.limits(2 * level - 1)
    correlation = _correlation(after, before, templates, rates)
    margin = _root(high - base.rate, base.rate - low, correlation)
    covariance, variances = _covariance(after, before, templates)
    error = np.sqrt((variances.sum(0) - 2 * covariance).clip(0))
    # Chance may raise the observed rate as well as lower it.
    return np.asarray(margin + special.stdtrit(base.df, 0.5 + level / 2) * error)


class _EffectiveRate(NamedTuple):
    """Rates with the number of independent cells that vary as much, one for each label."""

    rate: Float[np.ndarray, " label"]
    effective: Float[np.ndarray, " label"]
    df: Float[np.ndarray, " label"]

    def limits(
        self, level: float | Float[np.ndarray, " label"]
    ) -> tuple[Float[np.ndarray, " label"], Float[np.ndarray, " label"]]:
        """Wilson 1927, with the quantile of Student's t for the normal one."""
        rate, effective = self.rate, self.effective
        # `stats.t.ppf` gives the same, ten times slower.
        quantile = special.stdtrit(self.df, 0.5 + level / 2)
        # All labels at once: `stats.wilson` is for one rate, and with the normal quantile.
        square = quantile**2 / effective
        center = (rate + square / 2) / (1 + square)
        variance = rate * (1 - rate) / effective + square / effective / 4
        margin = quantile / (1 + square) * np.sqrt(variance)
        # Exactly 0 and 1, which rounding would miss.
        low = np.where(rate <= 0, 0.0, center - margin)
        high = np.where(rate >= 1, 1.0, center + margin)
        return low, high


def _factor_means(
    outcomes: Float[np.ndarray, "item *cell label"], templates: bool
) -> list[Float[np.ndarray, "level label"]]:
    """The means of each item, and of each template."""
    count, labels = len(outcomes), outcomes.shape[-1]
    means = [outcomes.reshape(count, -1, labels).mean(1)]
    if templates:
        by_template = np.moveaxis(outcomes, 1, 0)
        means.append(by_template.reshape(len(by_template), -1, labels).mean(1))
    return means


def _effective_rate(
    outcomes: Float[np.ndarray, "item *cell label"], templates: bool
) -> _EffectiveRate:
    count = len(outcomes)
    if count < 2:
        raise EvidenceError(f"{count} items: an interval of a rate needs at least two.")
    cells = int(np.prod(outcomes.shape[:-1]))
    factors = _factor_means(outcomes, templates)
    rate = factors[0].mean(0)
    parts = [(means.var(0, ddof=1) / len(means), len(means) - 1) for means in factors]
    variance = np.sum([part for part, _ in parts], axis=0)
    # Where items are all alike, each counts once, however many seeds it has.
    design_effect, alike = np.full(rate.shape, cells / count), cells / count
    varies = variance > 0
    # How much more the mean varies than that of as many independent cells (Kish 1965).
    design_effect[varies] = variance[varies] * cells / (rate * (1 - rate))[varies]
    # Near 0 and 1, the few items that differ tell little of how alike the cells of an item are: as
    # if there were some more items whose cells are all alike.
    cautious = (count * design_effect + ALIKE_ITEMS * alike) / (count + ALIKE_ITEMS)
    # At most one for each cell: a variance below the binomial one is chance, not information.
    effective = cells / np.maximum(design_effect, cautious).clip(1, cells)
    # Satterthwaite 1946; the items' own without templates.
    spread = np.sum([part**2 / df for part, df in parts], axis=0)
    df = np.full(rate.shape, count - 1.0)
    # No more than the items have, although templates add theirs: a rate is generalised over items.
    df[varies] = (variance[varies] ** 2 / spread[varies]).clip(1, count - 1)
    return _EffectiveRate(rate, effective, df)


def _change_limits(
    after: _EffectiveRate,
    before: _EffectiveRate,
    correlation: Float[np.ndarray, " label"],
    level: float | Float[np.ndarray, " label"],
) -> tuple[Float[np.ndarray, " label"], Float[np.ndarray, " label"]]:
    """Square-and-add of the limits of two rates."""
    change = after.rate - before.rate
    (low, high), (base_low, base_high) = after.limits(level), before.limits(level)
    # The lower limit of a difference combines the lower limit of the first rate with the upper one
    # of the second (Newcombe 1998, method 10).
    lower = change - _root(after.rate - low, base_high - before.rate, correlation)
    upper = change + _root(high - after.rate, before.rate - base_low, correlation)
    # A difference of rates has these bounds; the square root does not know them.
    return lower.clip(-1, 1), upper.clip(-1, 1)


def _correlation(
    after: Float[np.ndarray, "item *cell label"],
    before: Float[np.ndarray, "item *cell label"],
    templates: bool,
    rates: tuple[_EffectiveRate, _EffectiveRate],
) -> Float[np.ndarray, " label"]:
    """The correlation of two mean rates, through items and templates; at least 0.

    Corrected for continuity, as in Newcombe 1998: of as many outcomes that are all the same in both
    conditions, one more might have differed.
    """
    covariance, variances = _covariance(after, before, templates)
    product = np.sqrt(variances.prod(0))
    correlation = np.divide(covariance, product, out=np.zeros_like(product), where=product > 0)
    spread = np.sqrt(np.prod([each.rate * (1 - each.rate) for each in rates], axis=0))
    count = np.minimum(*(each.effective for each in rates))
    correlation = correlation - np.divide(
        1, 2 * count * spread, out=np.zeros_like(spread), where=spread > 0
    )
    # A negative correlation would widen the interval further: it is not counted on.
    return np.asarray(correlation.clip(0, 1))


def _covariance(
    after: Float[np.ndarray, "item *cell label"],
    before: Float[np.ndarray, "item *cell label"],
    templates: bool,
) -> tuple[Float[np.ndarray, " label"], Float[np.ndarray, "2 label"]]:
    """Covariance of two mean rates, and their variances."""
    if after.shape != before.shape:
        raise EvidenceError(f"Outcomes of shape {after.shape} and {before.shape} are not paired.")
    covariance, variances = np.zeros(after.shape[-1]), np.zeros((2, after.shape[-1]))
    sides = (_factor_means(outcomes, templates) for outcomes in (after, before))
    for pair in zip(*sides, strict=True):
        centered = np.stack([means - means.mean(0) for means in pair])
        # n (n − 1) for the variance of a mean; `max` where a factor has one level and no deviation.
        scale = len(pair[0]) * max(len(pair[0]) - 1, 1)
        covariance += (centered[0] * centered[1]).sum(0) / scale
        variances += (centered**2).sum(1) / scale
    return covariance, variances


def _root(first: np.ndarray, second: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Distance of the limit of a difference, from those of its two rates."""
    square = first**2 + second**2 - 2 * correlation * first * second
    # Rounding may bring a square of equal distances with correlation 1 below 0.
    return np.asarray(np.sqrt(square.clip(0)))
