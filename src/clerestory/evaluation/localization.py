"""How well maps find objects: means over scenes of their figures against true masks.

    rows = [[mask_figures(maps.map("cat", row), mask)] for row, mask in enumerate(masks)]
    localization_of(rows)["iou"]  # Localized(mean=0.41, low=0.37, high=0.45, items=48)

`clerestory.stats.maps` has the figures of one map and one mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.errors import EvidenceError
from clerestory.stats.clustered_intervals import share_interval
from clerestory.stats.rate_intervals import rate_interval

__all__ = ["MEASURES", "Localized", "localization_of"]

MEASURES = ("mass_inside", "iou", "pointing")


@dataclass(frozen=True)
class Localized:
    """A measure over items.

    Attributes:
        mean: The mean of the items' means.
        low: The lower limit of its 95% interval, over items.
        high: The upper limit.
        items: Number of items.
    """

    mean: float
    low: float
    high: float
    items: int


def localization_of(figures: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, Localized]:
    """Means and intervals of `mass_inside`, `iou` and `pointing`.

    Args:
        figures: Items, and of each what `mask_figures` gives of its maps: its objects, say. Maps of
            one item are no more evidence than one.

    Returns:
        The measures by name, all from 0 to 1. Items are random, as other scenes of the same kind;
        `pointing` has the interval of a rate, the others that of a mean between bounds.

    Raises:
        EvidenceError: There are fewer than two items, one has no maps, or a figure is missing.

    >>> hit, miss = ({"mass_inside": x, "iou": x, "pointing": x} for x in (1.0, 0.0))
    >>> localization_of([[hit], [hit, miss], [miss], [hit]])["iou"].mean
    0.625
    """
    if len(figures) < 2 or not all(figures):
        raise EvidenceError("An interval over items needs two items, each with a map and a mask.")
    result = {}
    for name in MEASURES:
        values = [[float(row[name]) for row in rows] for rows in figures]
        if any(map(math.isnan, (value for row in values for value in row))):
            raise EvidenceError(f"{name} of an item is NaN: its mask is empty, or its map is.")
        means = np.array([np.mean(row) for row in values])
        if name == "pointing":
            low, high = rate_interval(means[:, None])
        else:
            # Of means between bounds, which that of attribution shares has from −1 to 1.
            low, high = ((1 + limit) / 2 for limit in share_interval(2 * means - 1))
        result[name] = Localized(float(means.mean()), low, high, len(means))
    return result
