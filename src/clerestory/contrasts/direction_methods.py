"""Methods that fit a direction to matched items; a fitted direction is then tested like a unit.

Each method is one registered function, a `DirectionMethod`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.arms import ArmValues
from clerestory.registry import Registry
from clerestory.stats import logistic_direction, rank_by_separation

__all__ = [
    "FOLDS",
    "SPARSE_UNITS",
    "DirectionMethod",
    "cross_fit",
    "direction_methods",
    "fit_sparse_probe",
]

FOLDS = 5
"""Number of parts that `cross_fit` divides the selection items into."""
SPARSE_UNITS = 8
"""Number of neurons in a sparse probe."""

Direction = NDArray[np.float64]
DirectionMethod = Callable[[ArmValues], Direction]
"""From the arms of the selection half to a direction `[unit]`, in the units of the activations."""
direction_methods: Registry[DirectionMethod] = Registry("direction method")


@direction_methods.register("difference")
def _difference(arms: ArmValues) -> Direction:
    """Difference of means: positive minus negative."""
    return np.asarray(arms.positive.mean(0) - arms.negative.mean(0))


@direction_methods.register("probe")
def _probe(arms: ArmValues) -> Direction:
    """L2-regularised logistic probe: positive against negative and hard negative together."""
    return logistic_direction(arms.positive, _all_negatives(arms))


@direction_methods.register("sparse")
def _sparse(arms: ArmValues) -> Direction:
    """The same probe on the `SPARSE_UNITS` best separated neurons (Gurnee et al. 2023)."""
    return fit_sparse_probe(arms, SPARSE_UNITS)


def fit_sparse_probe(arms: ArmValues, count: int) -> Direction:
    """Fit a logistic probe on the neurons whose arms are best separated.

    Args:
        arms: The arms of the selection half.
        count: Number of neurons; all neurons if there are fewer.

    Returns:
        The direction `[unit]`, 0 for all other neurons.
    """
    negatives = _all_negatives(arms)
    selected = rank_by_separation(arms.positive, negatives)[:count]
    direction = np.zeros(arms.positive.shape[1])
    direction[selected] = logistic_direction(arms.positive[:, selected], negatives[:, selected])
    return direction


def cross_fit(arms: ArmValues, method: DirectionMethod) -> ArmValues:
    """Project each item on a direction that was fitted without it.

    Projections of the items that a probe was fitted on are uninformative: with more units than
    items it separates them perfectly.

    Args:
        arms: The selection half.
        method: Fits a direction.

    Returns:
        `[item, 1]` for each arm, 0 if there are fewer than two items. Projections of each part are
        standardised by the mean and standard deviation of the other parts, so that parts compare.
    """
    projections = {arm: np.zeros((len(values), 1)) for arm, values in arms.by_arm.items()}
    start = dict.fromkeys(projections, 0)
    # Folds are consecutive parts, so each fills the next rows of its arm.
    for others, part in arms.folds(FOLDS):
        direction = method(others)
        # From the other parts, so that no item influences its own scale.
        fitted = np.concatenate([others.positive, others.negative]) @ direction
        # The standard deviation is 0 along a direction of length 0.
        scale = fitted.std() or 1.0
        for arm, values in part.by_arm.items():
            end = start[arm] + len(values)
            # Standardised by fold: directions of different folds differ in length and offset, and
            # their projections are ranked together.
            projections[arm][start[arm] : end, 0] = (values @ direction - fitted.mean()) / scale
            start[arm] = end
    return ArmValues(
        projections["positive"],
        projections["negative"],
        projections.get("hard_negative"),
        arms.paired,
    )


def _all_negatives(arms: ArmValues) -> NDArray[np.float64]:
    if arms.hard_negative is None:
        return arms.negative
    # Pooled: a probe that separates the concept from both is one direction.
    return np.concatenate([arms.negative, arms.hard_negative])
