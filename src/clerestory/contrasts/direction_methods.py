"""Ways to a direction: what is fitted on matched contents, and read like one unit more.

A way is a function of a half's sides; it gives a direction `[unit]` in the activations' own
measure. Another one is another function with a registration.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.matching import Sides
from clerestory.registry import Registry
from clerestory.stats import logistic_direction, mean_difference, rank_by_separation

__all__ = ["FOLDS", "SPARSE", "Way", "crossed", "first", "ways"]

FOLDS = 5
"""Parts of discovery's contents: directions are ranked by parts that they were not fitted on."""
SPARSE = 8
"""Neurons of a sparse probe."""

Matrix = NDArray[np.float64]
Way = Callable[[Sides], Matrix]
ways: Registry[Way] = Registry("way to a direction")


@ways.register("difference")
def means(sides: Sides) -> Matrix:
    """Difference of means: with the concept less without it."""
    return mean_difference(sides.shown, sides.absent)


@ways.register("probe")
def probe(sides: Sides) -> Matrix:
    """L2-logistic probe: the concept against its absence and the decoy together."""
    return logistic_direction(sides.shown, _others(sides))


@ways.register("sparse")
def sparse(sides: Sides) -> Matrix:
    """The same probe on the eight neurons that stand out most (Gurnee et al. 2023)."""
    return first(sides, SPARSE)


def first(sides: Sides, count: int) -> Matrix:
    """A probe on so many neurons: those that stand out most by themselves."""
    others = _others(sides)
    chosen = rank_by_separation(sides.shown, others)[:count]
    direction = np.zeros(sides.shown.shape[1])
    direction[chosen] = logistic_direction(sides.shown[:, chosen], others[:, chosen])
    return direction


def crossed(sides: Sides, way: Way) -> Sides:
    """One column a side: each content read by a direction that was fitted without it.

    Readings of a part that is left out are in standard deviations of the rest, around its middle.
    """
    count = len(sides.shown)
    arms = {"shown": sides.shown, "absent": sides.absent, "decoy": sides.decoy}
    read = {arm: np.zeros((count, 1)) for arm, values in arms.items() if values is not None}
    if count < 2:
        return Sides(read["shown"], read["absent"], read.get("decoy"))
    for part in np.array_split(np.arange(count), min(FOLDS, count)):
        rest = np.setdiff1d(np.arange(count), part)
        direction = way(sides.of(rest))
        ends = np.concatenate([arms[arm][rest] @ direction for arm in ("shown", "absent")])  # type: ignore[index]
        scale = ends.std() or 1.0
        for arm, column in read.items():
            column[part, 0] = (arms[arm][part] @ direction - ends.mean()) / scale  # type: ignore[index]
    return Sides(read["shown"], read["absent"], read.get("decoy"))


def _others(sides: Sides) -> Matrix:
    return sides.absent if sides.decoy is None else np.concatenate([sides.absent, sides.decoy])
