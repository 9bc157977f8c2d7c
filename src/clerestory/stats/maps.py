"""Figures of a map of a picture's positions: its peak, its concentration, its mass in a mask.

>>> values = np.array([[0.0, 3.0], [1.0, 0.0]])
>>> peak(values)
(0.25, 0.75)
>>> concentration(values)
0.75
>>> mass_inside(values, np.array([[False, True]] * 2))
0.75
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clerestory.types import Floats

__all__ = ["concentration", "mass_inside", "peak", "resample"]

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
    rows, columns = (_overlaps(*sides) for sides in zip(values.shape, mask.shape, strict=True))
    total = values.sum(dtype=np.float64)
    if not total > 0:
        return math.nan
    return float((values * (rows @ mask @ columns.T)).sum(dtype=np.float64) / total)


def resample(mask: Floats, grid: tuple[int, int]) -> Floats:
    """A mask on another grid of the same picture, by area.

    Args:
        mask: `[y, x]`, shares of each position that are inside.
        grid: Rows and columns.

    Returns:
        float32 `[row, column]`: the share of each cell that is inside; exactly 0 or 1 where all
        positions that it covers are.

    >>> resample(np.array([[0.0, 1.0, 1.0]]), (1, 2))
    array([[0.33333299, 1.        ]], dtype=float32)
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
