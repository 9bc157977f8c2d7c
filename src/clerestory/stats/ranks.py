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
"""Pairs up to which the signed-rank distribution is counted out, as in scipy."""

EXACT_WITH_TIES = 13
"""The same where ranks are tied: there each unit has a distribution of its own."""


def auroc(
    shown: Float[np.ndarray, "n unit"], absent: Float[np.ndarray, "m unit"]
) -> Float[np.ndarray, " unit"]:
    """Chance that a unit is higher where the concept is shown than where it is absent.

    0.5 means no difference, ties count half; NaN where a side is empty or a value is NaN.
    Source: Mann & Whitney 1947, from midranks as in `scipy.stats.mannwhitneyu`.

    >>> auroc(np.array([[2.0], [3.0]]), np.array([[1.0], [2.0]]))
    array([0.875])
    """
    first, second = len(shown), len(absent)
    units = shown.shape[1]
    if not first or not second:
        return np.full(units, np.nan)
    result = np.empty(units)
    for start in range(0, units, BLOCK):
        block = slice(start, start + BLOCK)
        values = np.ascontiguousarray(np.concatenate([shown[:, block], absent[:, block]]).T)
        result[block] = _rank_sum(values, first) - first * (first + 1) / 2
    return result / (first * second)


def win_rate(
    shown: Float[np.ndarray, "pair unit"], absent: Float[np.ndarray, "pair unit"]
) -> Float[np.ndarray, " unit"]:
    """Share of pairs in which the unit is higher where the concept is shown; ties count half.

    >>> win_rate(np.array([[2.0], [3.0]]), np.array([[1.0], [3.0]]))
    array([0.75])
    """
    differences = shown - absent
    return np.asarray((differences > 0).mean(0) + (differences == 0).mean(0) / 2)


def signed_rank(differences: Float[np.ndarray, "pair unit"]) -> Float[np.ndarray, " unit"]:
    """Two-sided p of Wilcoxon's signed-rank test of each unit's paired differences.

    Pairs without a difference are left out; a unit without any has p = 1. Exact up to 50 pairs
    without ties and up to 13 with, else by the normal approximation with its correction for ties.
    Source: Wilcoxon 1945; the figures of `scipy.stats.wilcoxon` at 14 pairs or more.

    >>> signed_rank(np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]))
    array([0.0625])
    """
    signed = signed_ranks(differences)
    return signed_rank_p(np.where(signed > 0, signed, 0).sum(0), signed)


def signed_ranks(differences: Float[np.ndarray, "pair unit"]) -> Float[np.ndarray, "pair unit"]:
    """Rank of each difference's size within its unit, with the difference's sign; 0 for none.

    >>> signed_ranks(np.array([[0.0], [-3.0], [1.0], [1.0]])).T
    array([[ 0. , -3. ,  1.5,  1.5]])
    """
    zeros = differences == 0
    ranks = stats.rankdata(np.abs(differences), axis=0) - zeros.sum(0)
    return np.where(zeros, 0.0, np.sign(differences) * ranks)


def signed_rank_p(
    positive: Float[np.ndarray, "*many unit"], signed: Float[np.ndarray, "pair unit"]
) -> Float[np.ndarray, "*many unit"]:
    """Two-sided p of sums of positive ranks, given the signed ranks that they can come from."""
    count = (signed != 0).sum(0)
    ties = _tie_term(np.abs(signed))
    p = np.ones(positive.shape)
    tied = (ties > 0) & (count <= EXACT_WITH_TIES)
    counted = ((ties == 0) & (count <= EXACT_UP_TO)) | tied
    for pairs in np.unique(count[counted & ~tied & (count > 0)]):
        units = counted & ~tied & (count == pairs)
        p[..., units] = _exact(positive[..., units], tuple(range(2, 2 * int(pairs) + 1, 2)))
    for unit in np.flatnonzero(tied):
        doubled = np.rint(2 * np.sort(np.abs(signed[:, unit]))).astype(int).tolist()
        p[..., unit] = _exact(positive[..., unit], tuple(rank for rank in doubled if rank))
    n = count[~counted].astype(float)
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties[~counted] / 48
    z = (positive[..., ~counted] - n * (n + 1) / 4) / np.sqrt(variance)
    p[..., ~counted] = 2 * special.ndtr(-np.abs(z))
    return np.minimum(p, 1.0)


def _exact(
    positive: Float[np.ndarray, "*many"], doubled: tuple[int, ...]
) -> Float[np.ndarray, "*many"]:
    """Two-sided p of rank sums, every sign a fair coin; `doubled` are twice the ranks, integers."""
    below = _below(doubled)
    rank_sum = np.rint(2 * positive).astype(int)
    return np.asarray(2 * np.minimum(below[rank_sum], below[below.size - 1 - rank_sum]))


def _rank_sum(values: Float[np.ndarray, "unit n"], first: int) -> Float[np.ndarray, " unit"]:
    """Sum over the first `first` columns of their midranks within each row.

    Sorting integers is much faster than sorting places, so each value becomes an integer that sorts
    as it does, with the side in its lowest bit. Rows where that bit was needed to tell two values
    apart, or where values are tied, are ranked the slow way.
    """
    bits = (values.astype(np.float64) + 0.0).view(np.int64)  # + 0.0: there is one zero
    keys = bits ^ ((bits >> 63) & np.int64(2**63 - 1))
    keys &= ~np.int64(1)
    keys[:, :first] |= 1
    keys.sort(axis=1)
    ranks = np.arange(1, values.shape[1] + 1)
    sums = np.einsum("us,s->u", keys & 1, ranks).astype(np.float64)
    close = (((keys[:, 1:] ^ keys[:, :-1]) | 1) == 1).any(1)
    if close.any():
        sums[close] = _tied_rank_sum(values[close], first)
    sums[np.isnan(values).any(1)] = np.nan
    return np.asarray(sums)


def _tied_rank_sum(values: Float[np.ndarray, "unit n"], first: int) -> Float[np.ndarray, " unit"]:
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    return np.asarray(np.where(order < first, _midranks(ordered), 0.0).sum(1))


def _midranks(ordered: Float[np.ndarray, "unit n"]) -> Float[np.ndarray, "unit n"]:
    """Ranks from 1 of values already in order, equal values sharing the middle of their ranks."""
    width = ordered.shape[1]
    places = np.arange(width)
    step: Bool[np.ndarray, "unit edge"] = ordered[:, 1:] != ordered[:, :-1]
    edge = np.ones((len(ordered), 1), dtype=bool)
    start = np.where(np.hstack([edge, step]), places, 0)
    end = np.where(np.hstack([step, edge]), places, width)
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
def _below(doubled: tuple[int, ...]) -> Float[np.ndarray, " rank_sum"]:
    """P(twice the rank sum ≤ w) for w = 0 … its most, when every sign is a fair coin."""
    ways = np.ones(1)
    for rank in doubled:
        longer = np.zeros(ways.size + rank)
        longer[: ways.size] += ways
        longer[rank:] += ways
        ways = longer / 2
    return np.minimum(np.cumsum(ways), 1.0)
