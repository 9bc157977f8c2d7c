"""Tests by ranks, for many units at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats

__all__ = ["auroc", "signed_rank", "signed_rank_p", "signed_ranks", "win_rate"]

BLOCK = 2_048
"""Units ranked at a time: bounds the memory, and keeps a block in the processor's cache."""

EXACT_UP_TO = 50
"""Pairs up to which the signed-rank distribution is enumerated, as in scipy."""

EXACT_WITH_TIES = 13
"""The same where ranks are tied: each unit then has its own distribution."""


def auroc(
    positive: Float[np.ndarray, "n unit"], negative: Float[np.ndarray, "m unit"]
) -> Float[np.ndarray, " unit"]:
    """Area under the ROC curve of each unit.

    Args:
        positive: Activations where the concept is present.
        negative: Activations where it is absent.

    Returns:
        The chance that a unit is higher in a positive sample: 0.5 means no difference; ties count
        half; NaN where an arm is empty or a value is NaN.

    Source: Mann & Whitney 1947, from mid-ranks as in `scipy.stats.mannwhitneyu`, which is ten times
    slower for many units.

    >>> auroc(np.array([[2.0], [3.0]]), np.array([[1.0], [2.0]]))
    array([0.875])
    """
    first, second = len(positive), len(negative)
    units = positive.shape[1]
    if not first or not second:
        return np.full(units, np.nan)
    result = np.empty(units)
    for start in range(0, units, BLOCK):
        block = slice(start, start + BLOCK)
        # Units as contiguous rows: each is sorted by itself, without strides.
        values = np.ascontiguousarray(np.concatenate([positive[:, block], negative[:, block]]).T)
        # Mann–Whitney U: the rank sum less the least that it can be.
        result[block] = _rank_sum(values, first) - first * (first + 1) / 2
    return result / (first * second)


def win_rate(
    positive: Float[np.ndarray, "pair unit"], negative: Float[np.ndarray, "pair unit"]
) -> Float[np.ndarray, " unit"]:
    """Share of pairs in which the unit is higher with the concept.

    Args:
        positive: Activations with the concept.
        negative: Activations without it, row by row of the same item.

    Returns:
        The share of pairs won; ties count half.

    >>> win_rate(np.array([[2.0], [3.0]]), np.array([[1.0], [3.0]]))
    array([0.75])
    """
    differences = positive - negative
    return np.asarray((differences > 0).mean(0) + (differences == 0).mean(0) / 2)


def signed_rank(differences: Float[np.ndarray, "pair unit"]) -> Float[np.ndarray, " unit"]:
    """Two-sided p of Wilcoxon's signed-rank test of each unit's paired differences.

    Exact up to 50 pairs without ties and up to 13 with, else by the normal approximation with its
    correction for ties.

    Args:
        differences: Positive less negative of each pair. Pairs without a difference are left out.

    Returns:
        p-values; 1 for a unit that differs in no pair.

    Source: Wilcoxon 1945; the figures of `scipy.stats.wilcoxon` at 14 pairs or more.

    >>> signed_rank(np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]))
    array([0.0625])
    """
    signed = signed_ranks(differences)
    return signed_rank_p(np.where(signed > 0, signed, 0).sum(0), signed)


def signed_ranks(differences: Float[np.ndarray, "pair unit"]) -> Float[np.ndarray, "pair unit"]:
    """Ranks of the differences' sizes within each unit, with the differences' signs.

    Args:
        differences: Positive less negative of each pair.

    Returns:
        Signed mid-ranks from 1; 0 for a pair without a difference.

    >>> signed_ranks(np.array([[0.0], [-3.0], [1.0], [1.0]])).T
    array([[ 0. , -3. ,  1.5,  1.5]])
    """
    zeros = differences == 0
    # Zeros have the lowest ranks: less their number, the others count from 1, as in Wilcoxon 1945.
    ranks = stats.rankdata(np.abs(differences), axis=0) - zeros.sum(0)
    return np.where(zeros, 0.0, np.sign(differences) * ranks)


def signed_rank_p(
    rank_sum: Float[np.ndarray, "*many unit"], signed: Float[np.ndarray, "pair unit"]
) -> Float[np.ndarray, "*many unit"]:
    """Two-sided p of sums of positive ranks.

    Args:
        rank_sum: Sums of the ranks of positive differences.
        signed: The signed ranks that the sums come from, as `signed_ranks` gives them.

    Returns:
        p-values, in the shape of `rank_sum`.
    """
    count = (signed != 0).sum(0)
    ties = _tie_term(np.abs(signed))
    p = np.ones(rank_sum.shape)
    tied = (ties > 0) & (count <= EXACT_WITH_TIES)
    counted = ((ties == 0) & (count <= EXACT_UP_TO)) | tied
    for pairs in np.unique(count[counted & ~tied & (count > 0)]):
        units = counted & ~tied & (count == pairs)
        # Twice the ranks 1 … n: doubled, mid-ranks are integers too.
        p[..., units] = _exact(rank_sum[..., units], tuple(range(2, 2 * int(pairs) + 1, 2)))
    for unit in np.flatnonzero(tied):
        doubled = np.rint(2 * np.sort(np.abs(signed[:, unit]))).astype(int).tolist()
        p[..., unit] = _exact(rank_sum[..., unit], tuple(rank for rank in doubled if rank))
    # Normal approximation with the correction for ties and none for continuity, as in scipy.
    n = count[~counted].astype(float)
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties[~counted] / 48
    z = (rank_sum[..., ~counted] - n * (n + 1) / 4) / np.sqrt(variance)
    p[..., ~counted] = 2 * special.ndtr(-np.abs(z))
    # In the middle both exact tails contain the observed sum, and twice either exceeds 1.
    return np.minimum(p, 1.0)


def _exact(
    rank_sum: Float[np.ndarray, "*many"], doubled: tuple[int, ...]
) -> Float[np.ndarray, "*many"]:
    """Two-sided p where every sign is a fair coin; `doubled` are twice the ranks, integers."""
    below = _cumulative(doubled)
    place = np.rint(2 * rank_sum).astype(int)
    # By symmetry P(W ≥ w) is P(W ≤ maximum − w).
    return np.asarray(2 * np.minimum(below[place], below[below.size - 1 - place]))


def _rank_sum(values: Float[np.ndarray, "unit n"], first: int) -> Float[np.ndarray, " unit"]:
    """Sum over the first `first` columns of their mid-ranks within each row.

    Sorting integers is much faster than an argsort, so each value becomes an integer that sorts as
    it does, with the arm in its lowest bit. Rows where that bit was needed to separate two values,
    or where values are tied, are ranked the slow way.
    """
    bits = (values.astype(np.float64) + 0.0).view(np.int64)  # + 0.0 turns -0.0 into 0.0
    # A negative float's bits sort in reverse: all but the sign are flipped.
    keys = bits ^ ((bits >> 63) & np.int64(2**63 - 1))
    keys &= ~np.int64(1)
    keys[:, :first] |= 1
    keys.sort(axis=1)
    ranks = np.arange(1, values.shape[1] + 1)
    sums = np.einsum("us,s->u", keys & 1, ranks).astype(np.float64)
    # Neighbours that differ in no bit but the arm's.
    ambiguous = (((keys[:, 1:] ^ keys[:, :-1]) | 1) == 1).any(1)
    if ambiguous.any():
        sums[ambiguous] = _tied_rank_sum(values[ambiguous], first)
    # NaN has sorted somewhere, which means nothing.
    sums[np.isnan(values).any(1)] = np.nan
    return np.asarray(sums)


def _tied_rank_sum(values: Float[np.ndarray, "unit n"], first: int) -> Float[np.ndarray, " unit"]:
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    return np.asarray(np.where(order < first, _midranks(ordered), 0.0).sum(1))


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
    """Sum of t³ − t over groups of t tied ranks; rank 0 stands for a pair that was left out."""
    ordered = np.sort(ranks, axis=0)
    term = np.zeros(ranks.shape[1])
    tied = ((ordered[1:] == ordered[:-1]) & (ordered[1:] > 0)).any(0)
    for unit in np.flatnonzero(tied):
        sizes: Int[np.ndarray, " group"] = np.unique(ordered[:, unit], return_counts=True)[1]
        sizes = sizes[1:] if ordered[0, unit] == 0 else sizes
        term[unit] = (sizes.astype(float) ** 3 - sizes).sum()
    return term


@lru_cache(maxsize=256)
def _cumulative(doubled: tuple[int, ...]) -> Float[np.ndarray, " rank_sum"]:
    """P(twice the rank sum ≤ w) for w = 0 … its maximum, when every sign is a fair coin."""
    distribution = np.ones(1)
    for rank in doubled:
        # The convolution with one more rank that counts or does not, each with 1/2.
        longer = np.zeros(distribution.size + rank)
        longer[: distribution.size] += distribution
        longer[rank:] += distribution
        distribution = longer / 2
    return np.minimum(np.cumsum(distribution), 1.0)
