"""Rank statistics of many units at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

__all__ = ["auroc"]

BLOCK = 2_048
"""Number of units ranked at a time: bounds the memory, and fits the processor's cache."""


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
    # U divided by 0 pairs has no value.
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


def _rank_sum(values: Float[np.ndarray, "unit n"], positives: int) -> Float[np.ndarray, " unit"]:
    """Sum of the mid-ranks of each row's first `positives` columns.

    Sorting integers is much faster than an argsort. So each value becomes an integer in the same
    order, whose lowest bit is replaced by the arm. Rows with tied values, or with values that
    differed in that bit alone, are ranked the slow way.
    """
    # Integers sort faster than floats and leave room for the arm: each value's lowest bit is given
    # up for it, so that one sort carries both.
    bits = (values.astype(np.float64) + 0.0).view(np.int64)  # + 0.0 turns -0.0 into 0.0
    # The bits of negative floats are in reverse order: all but the sign are flipped.
    keys = bits ^ ((bits >> 63) & np.int64(2**63 - 1))
    # float32 activations have zeros in that bit; float64 values that differ in it alone are ties,
    # and those rows are ranked again below.
    keys &= ~np.int64(1)
    keys[:, :positives] |= 1
    keys.sort(axis=1)
    ranks = np.arange(1, values.shape[1] + 1)
    sums = np.einsum("us,s->u", keys & 1, ranks).astype(np.float64)
    # Neighbours that are equal but for the bit of the arm.
    ambiguous = (((keys[:, 1:] ^ keys[:, :-1]) | 1) == 1).any(1)
    if ambiguous.any():
        ranked = stats.rankdata(values[ambiguous], axis=1)
        sums[ambiguous] = ranked[:, :positives].sum(1)
    # NaN has no rank; here it was sorted by its bits.
    sums[np.isnan(values).any(1)] = np.nan
    return np.asarray(sums)
