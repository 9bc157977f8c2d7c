"""Figures of a map of a picture's positions: its peak, its concentration, how it fits a mask.

>>> values = np.array([[0.0, 3.0], [1.0, 0.0]])
>>> peak(values)
(0.25, 0.75)
>>> concentration(values)
0.75
>>> mass_inside(values, np.array([[False, True]] * 2))
0.75
>>> intersection_over_union(values, np.array([[False, True]] * 2))
0.3333333333333333
>>> points_inside(values, np.array([[False, True]] * 2))
True
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clerestory.types import Floats

__all__ = [
    "concentration",
    "intersection_over_union",
    "mask_figures",
    "mass_inside",
    "peak",
    "points_inside",
    "resample",
]

TOP = 0.1
"""The share of positions whose mass is the concentration."""


def peak(values: Floats) -> tuple[float, float]:
    """The centre of the largest value.

    Args:
        values: `[y, x]`.

    Returns:
        Fractions of height and width; the first of equal values, NaN where all are.
    """
    if np.isnan(values).all():
        return math.nan, math.nan
    row, column = divmod(int(np.nanargmax(values)), values.shape[1])
    return (row + 0.5) / values.shape[0], (column + 0.5) / values.shape[1]


def concentration(values: Floats) -> float:
    """The share of the mass in the tenth of the positions with the largest values.

    Args:
        values: `[y, x]`, none below 0.

    Returns:
        From about 0.1, of a flat map, to 1; NaN without any mass.
    """
    count = math.ceil(TOP * values.size)
    total = values.sum(dtype=np.float64)
    # NaN of 0/0 would be a warning.
    if not total > 0:
        return math.nan
    return float(np.sort(values, axis=None)[-count:].sum(dtype=np.float64) / total)


def mass_inside(values: Floats, mask: NDArray[np.bool_]) -> float:
    """The share of the mass in a mask.

    Args:
        values: `[y, x]`, none below 0.
        mask: `[row, column]` of the same picture, at any size; a position counts by its share.

    Returns:
        From 0 to 1; NaN without any mass.
    """
    total = values.sum(dtype=np.float64)
    if not total > 0:
        return math.nan
    return float((values * _coverage(values, mask)).sum(dtype=np.float64) / total)


def intersection_over_union(values: Floats, mask: NDArray[np.bool_]) -> float:
    """How well the mask is found by as many positions as it covers, those with the largest values.

    The threshold follows from the mask's area and is not fitted: a map is told how large the object
    is, and has to tell where. A position counts by its share of the mask.

    Args:
        values: `[y, x]`.
        mask: `[row, column]` of the same picture, at any size.

    Returns:
        From 0 to 1; of a flat map what positions at random give, since equal values at the
        threshold count by the share of them that is needed. NaN for an empty mask, or where a value
        is NaN.
    """
    coverage = _coverage(values, mask)
    area = float(coverage.sum())
    if not area > 0 or np.isnan(values).any():
        return math.nan
    # At least one position, of an object smaller than that.
    count = max(1.0, area)
    chosen = _largest(values, count)
    shared = float((chosen * coverage).sum())
    return shared / (count + area - shared)


def points_inside(values: Floats, mask: NDArray[np.bool_]) -> bool:
    """Whether the largest value is in the mask: the pointing game, without a tolerance.

    Args:
        values: `[y, x]`.
        mask: `[row, column]` of the same picture, at any size.

    Returns:
        Whether the mask has the pixel at the centre of the position; of equal values the first
        counts. False where all are NaN.

    Source: Zhang et al. 2018, Top-down neural attention by excitation backprop.
    """
    place = peak(values)
    if math.isnan(place[0]):
        return False
    row, column = (int(share * side) for share, side in zip(place, mask.shape, strict=True))
    return bool(mask[row, column])


def mask_figures(values: Floats, mask: NDArray[np.bool_]) -> dict[str, float | bool]:
    """All figures of a map and a mask.

    Args:
        values: `[y, x]`, none below 0.
        mask: `[row, column]` of the same picture, at any size.

    Returns:
        `mass_inside`, `iou` (`intersection_over_union`) and `pointing` (`points_inside`).
    """
    return {
        "mass_inside": mass_inside(values, mask),
        "iou": intersection_over_union(values, mask),
        "pointing": points_inside(values, mask),
    }


def _largest(values: Floats, count: float) -> NDArray[np.float64]:
    """The share with which each position is among the `count` largest."""
    order = np.sort(values, axis=None)[::-1]
    threshold = order[min(math.ceil(count), order.size) - 1]
    above, equal = values > threshold, values == threshold
    shares: NDArray[np.float64] = above + equal * ((count - above.sum()) / equal.sum())
    return shares


def _coverage(values: Floats, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each position that is in the mask."""
    rows, columns = (_overlaps(*sides) for sides in zip(values.shape, mask.shape, strict=True))
    coverage: NDArray[np.float64] = rows @ mask @ columns.T
    return coverage


def resample(mask: Floats, grid: tuple[int, int]) -> Floats:
    """A mask on another grid of the same picture, by area.

    Args:
        mask: `[y, x]`, shares of each position that are inside.
        grid: Rows and columns.

    Returns:
        float32 `[row, column]`: the share of each cell that is inside; exactly 0 or 1 where all
        positions that it covers are.

    >>> resample(np.array([[0.0, 1.0, 1.0]]), (1, 2)).round(2)
    array([[0.33, 1.  ]], dtype=float32)
    """
    rows, columns = (_overlaps(*sides) for sides in zip(grid, mask.shape, strict=True))
    # Rounded, since sums of shares miss 1 in their last digits.
    shares: Floats = np.round(rows @ mask @ columns.T, 6).astype(np.float32)
    return shares


def _overlaps(cells: int, pixels: int) -> NDArray[np.float64]:
    """The share of each cell that each pixel covers, `[cell, pixel]`."""
    edges, marks = np.linspace(0, 1, cells + 1), np.linspace(0, 1, pixels + 1)
    left = np.maximum(edges[:-1, None], marks[:-1])
    right = np.minimum(edges[1:, None], marks[1:])
    shares: NDArray[np.float64] = np.clip(right - left, 0, None) * cells
    return shares
