"""Rank statistics and tests of many units at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats

__all__ = ["auroc", "signed_rank", "signed_rank_p", "signed_ranks"]

BLOCK = 2_048
"""Number of units ranked at a time: bounds the memory, and fits the processor's cache."""

EXACT_UP_TO = 50
"""Number of pairs up to which the signed-rank distribution is enumerated, as in scipy."""

EXACT_WITH_TIES = 13
"""The same with tied ranks, where each unit needs a distribution of its own."""


def auroc(
    positive: Float[np.ndarray, "n unit"], negative: Float[np.ndarray, "m unit"]
) -> Float[np.ndarray, " unit"]:
    """Area under the ROC curve of each unit.

    Args:
        positive: Activations of samples with the concept.
        negative: Activations of samples without the concept.

    Returns:
        Probability that a unit is higher in a positive than in a negative sample. 0.5 means no
        difference; ties count half; NaN if an arm is empty or a value is NaN.

    Source: Mann & Whitney 1947, from mid-ranks as in `scipy.stats.mannwhitneyu`, which is ten times
    slower for many units.

    >>> auroc(np.array([[2.0], [3.0]]), np.array([[1.0], [2.0]]))
    array([0.875])
    """
    positives, negatives, units = len(positive), len(negative), positive.shape[1]
    if not positives or not negatives:
        return np.full(units, np.nan)
    result = np.empty(units)
    for start in range(0, units, BLOCK):
        block = slice(start, start + BLOCK)
        # Units as contiguous rows, since each unit is sorted by itself.
        values = np.ascontiguousarray(np.concatenate([positive[:, block], negative[:, block]]).T)
        # Mann–Whitney U: the rank sum minus its smallest possible value.
        result[block] = _rank_sum(values, positives) - positives * (positives + 1) / 2
    return result / (positives * negatives)


def signed_rank(differences: Float[np.ndarray, "pair unit"]) -> Float[np.ndarray, " unit"]:
    """Two-sided p of Wilcoxon's signed-rank test of each unit's paired differences.

    Exact up to 50 pairs without ties and up to 13 with ties, otherwise by the normal approximation
    with the correction for ties.

    Args:
        differences: Positive minus negative in each pair. Pairs with difference 0 are left out.

    Returns:
        p-values; 1 for a unit whose differences are all 0.

    Source: Wilcoxon 1945; equal to `scipy.stats.wilcoxon` from 14 pairs on.

    >>> signed_rank(np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]))
    array([0.0625])
    """
    signed = signed_ranks(differences)
    return signed_rank_p(np.where(signed > 0, signed, 0).sum(0), signed)


def signed_ranks(differences: Float[np.ndarray, "pair unit"]) -> Float[np.ndarray, "pair unit"]:
    """Ranks of the absolute differences within each unit, with the signs of the differences.

    Args:
        differences: Positive minus negative in each pair.

    Returns:
        Signed mid-ranks from 1; 0 for a difference of 0.

    >>> signed_ranks(np.array([[0.0], [-3.0], [1.0], [1.0]])).T
    array([[ 0. , -3. ,  1.5,  1.5]])
    """
    zeros = differences == 0
    # Zeros have the lowest ranks: minus their number, the other ranks start at 1 (Wilcoxon 1945).
    ranks = stats.rankdata(np.abs(differences), axis=0) - zeros.sum(0)
    return np.where(zeros, 0.0, np.sign(differences) * ranks)


def signed_rank_p(
    rank_sum: Float[np.ndarray, "*many unit"], signed: Float[np.ndarray, "pair unit"]
) -> Float[np.ndarray, "*many unit"]:
    """Two-sided p of sums of positive ranks.

    Args:
        rank_sum: Sums of the ranks of positive differences.
        signed: The signed ranks that were summed, from `signed_ranks`.

    Returns:
        p-values, in the shape of `rank_sum`.
    """
    pairs = (signed != 0).sum(0)
    ties = _tie_term(np.abs(signed))
    p = np.ones(rank_sum.shape)
    exact_untied = (ties == 0) & (pairs <= EXACT_UP_TO)
    exact_tied = (ties > 0) & (pairs <= EXACT_WITH_TIES)
    # Units with equally many pairs share a distribution. Without any pair p stays 1.
    for count in np.unique(pairs[exact_untied & (pairs > 0)]):
        units = exact_untied & (pairs == count)
        # Twice the ranks 1 … n: doubled, mid-ranks are integers too.
        p[..., units] = _exact_p(rank_sum[..., units], tuple(range(2, 2 * int(count) + 1, 2)))
    for unit in np.flatnonzero(exact_tied):
        doubled = np.rint(2 * np.sort(np.abs(signed[:, unit]))).astype(int).tolist()
        p[..., unit] = _exact_p(rank_sum[..., unit], tuple(rank for rank in doubled if rank))
    # Normal approximation with the correction for ties and none for continuity, as in scipy.
    approximate = ~(exact_untied | exact_tied)
    n = pairs[approximate].astype(float)
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties[approximate] / 48
    z = (rank_sum[..., approximate] - n * (n + 1) / 4) / np.sqrt(variance)
    p[..., approximate] = 2 * special.ndtr(-np.abs(z))
    # In the middle both exact tails contain the observed sum, so twice a tail can exceed 1.
    return np.minimum(p, 1.0)


def _exact_p(
    rank_sum: Float[np.ndarray, "*many"], doubled_ranks: tuple[int, ...]
) -> Float[np.ndarray, "*many"]:
    """Two-sided p if every sign is equally likely; `doubled_ranks` are integers."""
    cdf = _rank_sum_cdf(doubled_ranks)
    index = np.rint(2 * rank_sum).astype(int)
    # By symmetry P(W ≥ w) is P(W ≤ maximum − w).
    return np.asarray(2 * np.minimum(cdf[index], cdf[cdf.size - 1 - index]))


def _rank_sum(values: Float[np.ndarray, "unit n"], positives: int) -> Float[np.ndarray, " unit"]:
    """Sum of the mid-ranks of each row's first `positives` columns.

    Sorting integers is much faster than an argsort. So each value becomes an integer in the same
    order, whose lowest bit is replaced by the arm. Rows with tied values, or with values that
    differed in that bit alone, are ranked the slow way.
    """
    bits = (values.astype(np.float64) + 0.0).view(np.int64)  # + 0.0 turns -0.0 into 0.0
    # The bits of negative floats are in reverse order: all but the sign are flipped.
    keys = bits ^ ((bits >> 63) & np.int64(2**63 - 1))
    keys &= ~np.int64(1)
    keys[:, :positives] |= 1
    keys.sort(axis=1)
    ranks = np.arange(1, values.shape[1] + 1)
    sums = np.einsum("us,s->u", keys & 1, ranks).astype(np.float64)
    # Neighbours that are equal but for the bit of the arm.
    ambiguous = (((keys[:, 1:] ^ keys[:, :-1]) | 1) == 1).any(1)
    if ambiguous.any():
        sums[ambiguous] = _tied_rank_sum(values[ambiguous], positives)
    # NaN has no rank; here it was sorted by its bits.
    sums[np.isnan(values).any(1)] = np.nan
    return np.asarray(sums)


def _tied_rank_sum(
    values: Float[np.ndarray, "unit n"], positives: int
) -> Float[np.ndarray, " unit"]:
    """The same as `_rank_sum`, correct for tied values too."""
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    return np.asarray(np.where(order < positives, _midranks(ordered), 0.0).sum(1))


def _midranks(ordered: Float[np.ndarray, "unit n"]) -> Float[np.ndarray, "unit n"]:
    """Ranks from 1 of sorted values; equal values share the mean of their ranks."""
    width = ordered.shape[1]
    positions = np.arange(width)
    step: Bool[np.ndarray, "unit edge"] = ordered[:, 1:] != ordered[:, :-1]
    edge = np.ones((len(ordered), 1), dtype=bool)
    start = np.where(np.hstack([edge, step]), positions, 0)
    end = np.where(np.hstack([step, edge]), positions, width)
    start = np.maximum.accumulate(start, axis=1)
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1]
    return (start + end) / 2 + 1


def _tie_term(ranks: Float[np.ndarray, "pair unit"]) -> Float[np.ndarray, " unit"]:
    """Sum of t³ − t over groups of t tied ranks; pairs of rank 0 are left out."""
    ordered = np.sort(ranks, axis=0)
    term = np.zeros(ranks.shape[1])
    tied = ((ordered[1:] == ordered[:-1]) & (ordered[1:] > 0)).any(0)
    for unit in np.flatnonzero(tied):
        sizes: Int[np.ndarray, " group"] = np.unique(ordered[:, unit], return_counts=True)[1]
        sizes = sizes[1:] if ordered[0, unit] == 0 else sizes
        term[unit] = (sizes.astype(float) ** 3 - sizes).sum()
    return term


@lru_cache(maxsize=256)
def _rank_sum_cdf(doubled_ranks: tuple[int, ...]) -> Float[np.ndarray, " rank_sum"]:
    """P(twice the rank sum ≤ w) for w = 0 … its maximum, if every sign is equally likely."""
    distribution = np.ones(1)
    for rank in doubled_ranks:
        # Convolution with one more rank, which is in the sum with probability 1/2.
        longer = np.zeros(distribution.size + rank)
        longer[: distribution.size] += distribution
        longer[rank:] += distribution
        distribution = longer / 2
    return np.minimum(np.cumsum(distribution), 1.0)
