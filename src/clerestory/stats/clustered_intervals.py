"""Confidence intervals of figures whose items, templates and seeds are random factors.

All keep their nominal coverage near the ends of the scale, and none has zero width: a rate of 24 in
24 items is not known to be 1. `tests/stats/test_clustered_intervals.py` simulates their coverage.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special, stats

from clerestory.errors import EvidenceError
from clerestory.stats.intervals import Interval
from clerestory.stats.random_factors import arm_variances, clustered_variances, df_cap

__all__ = [
    "auroc_interval",
    "cell_auroc_interval",
    "clustered_auroc_interval",
    "mean_interval",
    "share_interval",
]

TINY = 1e-12
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


def clustered_auroc_interval(
    positive: Float[np.ndarray, " n"],
    negative: Float[np.ndarray, " m"],
    *factors: tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]],
    level: float = 0.95,
) -> Interval:
    """Interval of one unit's AUROC, where arms are no grids of items and templates.

    Args:
        positive: The unit's values in the positive arm.
        negative: Its values in the negative arm.
        *factors: Items and further factors, as for `random_factors.clustered_arm_test`.
        level: Coverage.

    Returns:
        The interval; (NaN, NaN) where a value is NaN.

    Raises:
        EvidenceError: An arm has fewer than two items.

    Source: as `auroc_interval`; placements summed by cluster as in Obuchowski 1997.

    >>> codes = np.arange(48)
    >>> arms = codes[24:], codes[:24]
    >>> low, high = clustered_auroc_interval(*(arm * 1.0 for arm in arms), arms)
    >>> round(low, 3), high
    (0.916, 1.0)
    """
    if np.isnan(positive).any() or np.isnan(negative).any():
        return Interval(np.nan, np.nan)
    above = _placements(positive, negative)
    # As a difference of arms, unlike in `auroc_interval`: what raises the negative arm lowers the
    # AUROC.
    below = _placements(negative, positive)
    parts, cap = arm_variances(above[:, None], below[:, None], *factors)
    plain = [(float(variance[0]), df) for variance, df in parts]
    items = min(len(np.unique(codes)) for codes in factors[0])
    return _logit_interval(float(above.mean()), plain, cap, items, len(above), level)


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
