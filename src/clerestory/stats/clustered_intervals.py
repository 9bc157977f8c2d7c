"""Confidence intervals of figures whose items, templates and seeds are random factors.

All keep their nominal coverage near the ends of the scale, and none has zero width: a rate of 24 in
24 items is not known to be 1. `tests/stats/test_clustered_intervals.py` simulates their coverage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special, stats

from clerestory.errors import EvidenceError
from clerestory.stats.intervals import Interval
from clerestory.stats.random_factors import clustered_variances, df_cap

__all__ = [
    "auroc_interval",
    "cell_auroc_interval",
    "change_interval",
    "change_p",
    "mean_interval",
    "rate_interval",
    "reachable_limit",
    "share_interval",
]

TINY = 1e-12
ALIKE_ITEMS = 5
"""Items with equal cells that are added to the estimate of a rate's effective sample size."""
NEAR = 0.1
"""Share of the distance to 0.5 that a limit keeps where the test alone excludes 0.5."""


def auroc_interval(
    positive: Float[np.ndarray, "n phrase *frame"],
    negative: Float[np.ndarray, "m other *frame"],
    *,
    paired: bool = True,
    level: float = 0.95,
) -> Interval:
    """Interval of one unit's AUROC, over items and templates.

    Args:
        positive: A unit's value for each item in each phrase of the positive arm, and in each
            sentence frame where there are several.
        negative: The same for the negative arm, in the same frames.
        paired: Whether row i of both arms is the same item.
        level: Coverage.

    Returns:
        The interval; (NaN, NaN) where a value is NaN.

    Raises:
        EvidenceError: There are fewer than two items.

    Source: placements as in DeLong, DeLong & Clarke-Pearson 1988, with variances over items and
    over templates; near 0 and 1 the hull with method 5 of Newcombe 2006.

    >>> values = np.arange(24.0)[:, None] + np.array([[0.0, 0.1, 0.2, 0.3]])
    >>> low, high = auroc_interval(values + 40, values)
    >>> round(low, 3), high
    (0.916, 1.0)
    """
    # The smaller arm: its items bound what the interval may claim near 0 and 1.
    count = min(len(positive), len(negative))
    if count < 2 or (paired and len(positive) != len(negative)):
        raise EvidenceError(
            f"{len(positive)} and {len(negative)} items: an interval needs two, the same if paired."
        )
    if positive.shape[2:] != negative.shape[2:]:
        raise EvidenceError(
            f"Arms of shape {positive.shape} and {negative.shape} do not share their frames."
        )
    if np.isnan(positive).any() or np.isnan(negative).any():
        return Interval(np.nan, np.nan)
    # Placements: the share of the other arm's values that lie below each value, ties count half.
    above = _placements(positive, negative)
    # 1 less the share below is the share above, so that both arms estimate the same AUROC.
    below = 1 - _placements(negative, positive)
    # The mean placement is the Mann–Whitney estimate; `below` has the same mean.
    estimate = float(above.mean())
    # `[item, phrase, frame]`, with one frame where there is no such axis.
    arms = [arm.reshape(*arm.shape[:2], -1) for arm in (above, below)]
    by_item = [arm.mean((1, 2)) for arm in arms]
    parts = [_mean_variance(sum(by_item))] if paired else list(map(_mean_variance, by_item))
    # One phrase has no variance to estimate: the claim is then about this phrase.
    parts += [_mean_variance(arm.mean((0, 2))) for arm in arms if arm.shape[1] > 1]
    frames, share = arms[0].shape[2], 0.0
    if frames > 1:
        # What a frame adds to both arms leaves the sum of their placements as it is.
        parts += [_mean_variance(arms[0].mean((0, 1)) + arms[1].mean((0, 1)))]
        share = parts[-1][0] / max(sum(part for part, _ in parts), TINY)
    cap = float(df_cap((arms[0].shape[1], arms[1].shape[1]), frames, np.array([share]))[0])
    return _logit_interval(estimate, parts, cap, count, positive.size, level)


def cell_auroc_interval(
    aurocs: Float[np.ndarray, " cell"],
    items: Int[np.ndarray, " cell"],
    *wording: Int[np.ndarray, " cell"],
    level: float = 0.95,
) -> Interval:
    """Interval of a mean of AUROCs within cells of one item and one template.

    Args:
        aurocs: The AUROC of each cell, positive against negative samples.
        items: The item of each cell, codes from 0.
        *wording: For each factor of the wording the level of each cell, codes from 0; all 0 where
            there is one.
        level: Coverage.

    Returns:
        The interval; (NaN, NaN) where an AUROC is NaN.

    Raises:
        EvidenceError: There are fewer than two items.

    Source: as `auroc_interval`, with the variances of `random_factors.cell_test`.

    >>> cells = np.arange(24)
    >>> low, high = cell_auroc_interval(np.ones(24), cells, np.zeros(24, dtype=int))
    >>> round(low, 3), high
    (0.916, 1.0)
    """
    if np.isnan(aurocs).any():
        return Interval(np.nan, np.nan)
    # As one unit, since the variances are written for many.
    parts = clustered_variances(aurocs[:, None], items, *wording)
    plain = [(float(variance[0]), df) for variance, df in parts]
    # No more than the rarer factor gives, however many cells there are.
    cap = min(df for _, df in plain)
    count = int(items.max()) + 1
    return _logit_interval(float(aurocs.mean()), plain, cap, count, len(aurocs), level)


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


def share_interval(shares: Float[np.ndarray, " paraphrase"], level: float = 0.95) -> Interval:
    """Interval of a mean of shares between −1 and 1, one for each paraphrase.

    Args:
        shares: Shares; each paraphrase has its own seed.
        level: Coverage.

    Returns:
        The interval; (NaN, NaN) where a share is NaN.

    Raises:
        EvidenceError: There are fewer than two paraphrases, or a share is outside −1 … 1.

    Source: Clopper & Pearson 1934 with the effective sample size of Korn & Graubard 1998.

    >>> low, high = share_interval(np.ones(12))
    >>> round(low, 3), high
    (0.471, 1.0)
    """
    count = len(shares)
    if count < 2:
        raise EvidenceError(f"{count} paraphrases: an interval needs at least two.")
    if np.isnan(shares).any():
        return Interval(np.nan, np.nan)
    # Shares are sums of Shapley values divided by their total: rounding alone may pass 1.
    if np.abs(shares).max() > 1 + TINY:
        raise EvidenceError("A share is outside −1 … 1.")
    rates = (np.clip(shares, -1, 1) + 1) / 2
    rate, variance = float(rates.mean()), float(rates.var(ddof=1) / count)
    # Rounding in the mean of equal shares leaves a variance that is not exactly 0.
    if np.ptp(rates) < TINY:
        # All alike: other shares are at most as likely as is compatible with none in so many.
        unseen = 1 - ((1 - level) / 2) ** (1 / count)
        return Interval(2 * rate * (1 - unseen) - 1, 2 * (rate + (1 - rate) * unseen) - 1)
    # Shares vary less than zeros and ones of the same mean, so each counts for up to eight.
    effective = float(np.clip(rate * (1 - rate) / variance, count, 8 * count))
    # The beta quantiles below are those of a known variance: the ratio of the quantiles makes up
    # for its estimate from few paraphrases.
    normal, student = stats.norm.ppf(0.5 + level / 2), stats.t.ppf(0.5 + level / 2, count - 1)
    effective *= float((normal / student) ** 2)
    hits, tail = rate * effective, (1 - level) / 2
    # Clopper & Pearson 1934, continued to real-valued counts.
    low = 0.0 if rate <= 0 else float(special.betaincinv(hits, effective - hits + 1, tail))
    high = 1.0 if rate >= 1 else float(special.betaincinv(hits + 1, effective - hits, 1 - tail))
    return Interval(2 * low - 1, 2 * high - 1)


def mean_interval(
    values: Float[np.ndarray, " replicate *many"], level: float = 0.95
) -> tuple[Float[np.ndarray, " *many"], Float[np.ndarray, " *many"]]:
    """Intervals of means of values without bounds, by Student's t.

    For values between known bounds `share_interval` keeps its coverage with few replicates; this
    one needs values that are not very skewed, and has no width where all are equal.

    Args:
        values: One row for each replicate.
        level: Coverage.

    Returns:
        The lower and the upper limits; NaN where a value is NaN.

    Raises:
        EvidenceError: There are fewer than two replicates.

    >>> low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(float(low), 3), round(float(high), 3)
    (-0.484, 4.484)
    """
    count = len(values)
    if count < 2:
        raise EvidenceError(f"{count} replicates: an interval needs at least two.")
    mean = values.mean(0)
    margin = stats.t.ppf(0.5 + level / 2, count - 1) * values.std(0, ddof=1) / np.sqrt(count)
    return np.asarray(mean - margin), np.asarray(mean + margin)


def _logit_interval(
    estimate: float,
    parts: list[tuple[float, float]],
    cap: float,
    items: int,
    cells: int,
    level: float,
) -> Interval:
    """An AUROC's interval from variances with their degrees of freedom."""
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / df for part, df in parts)
    # Satterthwaite 1946. At least 1, below which Student's t has no use; where nothing varies the
    # hull below decides.
    df = max(variance**2 / spread, 1.0) if spread > 0 else float(items - 1)
    # The delta method on the logit scale needs an estimate inside (0, 1).
    end = 1 / (2 * cells**2)
    inside = float(np.clip(estimate, end, 1 - end))
    # The quantile of Student's t; scipy.stats.t checks its arguments for longer than this takes.
    center, quantile = special.logit(inside), special.stdtrit(min(df, cap), 0.5 + level / 2)
    # A variance of 0 would make an interval of zero width.
    margin = quantile * np.sqrt(max(variance, TINY)) / (inside * (1 - inside))
    low, high = float(special.expit(center - margin)), float(special.expit(center + margin))
    low, high = _agree_with_test(low, high, estimate, quantile * np.sqrt(variance))
    # Closer to 0 or 1 than half an item of the smaller arm.
    if max(estimate, 1 - estimate) >= 1 - 1 / (2 * items):
        # Placements hardly vary there: their variance is an underestimate.
        least, most = _newcombe_auroc(estimate, items, level)
        low, high = min(low, least), max(high, most)
    return Interval(low, high)


def _agree_with_test(
    low: float, high: float, estimate: float, margin: float
) -> tuple[float, float]:
    """Move the limit next to 0.5, so that it excludes 0.5 where the t test of ranks does.

    A Wald interval on the logit scale is too wide on the side of 0.5 if the estimate is far from it
    (Hauck & Donner 1977): it includes 0.5 in units whose difference is beyond doubt. So AUROCs up
    to 0.5 are tested on the scale of the AUROC, as `arm_test` does, and others on the logit scale.

    Args:
        low: Lower limit on the logit scale.
        high: Upper limit on the logit scale.
        estimate: The AUROC.
        margin: Half the width of the interval on the scale of the AUROC.
    """
    sign = 1 if estimate >= 0.5 else -1
    # How far the near limit is beyond 0.5, in the direction of the estimate.
    near = sign * ((low if sign > 0 else high) - 0.5)
    tested = abs(estimate - 0.5) - margin
    # The logit scale is asymmetric: its limit may lie on the other side of 0.5 than the test's, and
    # a unit would be significant but not found. Where the test excludes 0.5 the limit moves just
    # across it, by a share of the test's distance; elsewhere at most to the test's own limit.
    near = max(near, tested if tested <= 0 else NEAR * tested)
    return (0.5 + near, high) if sign > 0 else (low, 0.5 - near)


def _mean_variance(values: Float[np.ndarray, " level"]) -> tuple[float, float]:
    """Variance of a mean over the levels of a factor, and its degrees of freedom."""
    return float(values.var(ddof=1) / len(values)), len(values) - 1.0


def _placements(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each value, the share of the others that are lower; ties count half."""
    # Two binary searches in sorted values, since a table of all pairs grows with the product.
    ordered = np.sort(others, axis=None)
    lower = np.searchsorted(ordered, values, side="left")
    upper = np.searchsorted(ordered, values, side="right")
    return np.asarray((lower + upper) / 2 / ordered.size)


def _newcombe_auroc(estimate: float, count: int, level: float) -> tuple[float, float]:
    """Newcombe 2006, method 5: the AUROCs whose Hanley–McNeil error fits the estimate."""
    z = stats.norm.ppf(0.5 + level / 2)

    def excess(auroc: float) -> float:
        # Hanley & McNeil 1982 with the exponential model, n items in each arm.
        rest = count - 1
        variance = auroc * (1 - auroc) / count**2
        variance *= 1 + rest * (1 - auroc) / (2 - auroc) + rest * auroc / (1 + auroc)
        return float(abs(estimate - auroc) - z * np.sqrt(variance))

    # `excess` is negative at the estimate, and positive at the ends unless the estimate is there.
    # Inside (0, 1), where the variance is positive and `brentq` finds a change of sign.
    middle = float(np.clip(estimate, 1e-9, 1 - 1e-9))
    low = 0.0 if estimate <= 0 else optimize.brentq(excess, TINY, middle)
    high = 1.0 if estimate >= 1 else optimize.brentq(excess, middle, 1 - TINY)
    return float(low), float(high)


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
