"""Methods of fitting a direction to matched items; a direction is then read like a unit.

A method is a function of the selection half's arms; it gives a direction `[unit]` in the units of
the activations. Another method is another function with a registration.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.arms import ArmValues
from clerestory.registry import Registry
from clerestory.stats import logistic_direction, mean_difference, rank_by_separation

__all__ = [
    "FOLDS",
    "SPARSE_UNITS",
    "DirectionMethod",
    "cross_fit",
    "direction_methods",
    "fit_sparse_probe",
]

FOLDS = 5
"""Parts of the selection items: directions are ranked on parts that they were not fitted on."""
SPARSE_UNITS = 8
"""Neurons of a sparse probe."""

Direction = NDArray[np.float64]
DirectionMethod = Callable[[ArmValues], Direction]
direction_methods: Registry[DirectionMethod] = Registry("direction method")


@direction_methods.register("difference")
def fit_difference(arms: ArmValues) -> Direction:
    """Difference of means: positive less negative.

    Args:
        arms: The arms of the selection half.

    Returns:
        The direction `[unit]`, in the units of the activations.
    """
    return mean_difference(arms.positive, arms.negative)


@direction_methods.register("probe")
def fit_probe(arms: ArmValues) -> Direction:
    """L2-logistic probe: positive against negative and hard negative together.

    Args:
        arms: The arms of the selection half.

    Returns:
        The direction `[unit]`, in the units of the activations.
    """
    return logistic_direction(arms.positive, _all_negatives(arms))


@direction_methods.register("sparse")
def fit_sparse(arms: ArmValues) -> Direction:
    """The same probe on the eight best separated neurons (Gurnee et al. 2023).

    Args:
        arms: The arms of the selection half.

    Returns:
        The direction `[unit]`, in the units of the activations.
    """
    return fit_sparse_probe(arms, SPARSE_UNITS)


def fit_sparse_probe(arms: ArmValues, count: int) -> Direction:
    """Fit a probe on the `count` neurons whose arms are best separated; 0 elsewhere.

    Args:
        arms: The arms of the selection half.
        count: How many neurons; all, where there are fewer.

    Returns:
        The direction `[unit]`, with at most `count` weights that are not 0.
    """
    negatives = _all_negatives(arms)
    chosen = rank_by_separation(arms.positive, negatives)[:count]
    direction = np.zeros(arms.positive.shape[1])
    direction[chosen] = logistic_direction(arms.positive[:, chosen], negatives[:, chosen])
    return direction


def cross_fit(arms: ArmValues, method: DirectionMethod) -> ArmValues:
    """Read each item by a direction that was fitted without it.

    In-sample scores of a probe are uninformative: with more units than items it separates the
    items perfectly.

    Args:
        arms: The selection half.
        method: Fits a direction.

    Returns:
        One column per arm. Readings of a part are in standard deviations of the other parts,
        around their mean, so that parts compare; 0 where there are fewer than two items.
    """
    readings = {arm: np.zeros((len(values), 1)) for arm, values in arms.by_arm.items()}
    start = dict.fromkeys(readings, 0)
    for others, part in arms.folds(FOLDS):
        direction = method(others)
        # From the other parts, so that no item has a say in its own scale.
        scale_values = np.concatenate([others.positive @ direction, others.negative @ direction])
        # All readings are equal along a direction of length 0.
        scale = scale_values.std() or 1.0
        for arm, values in part.by_arm.items():
            end = start[arm] + len(values)
            readings[arm][start[arm] : end, 0] = (values @ direction - scale_values.mean()) / scale
            start[arm] = end
    return ArmValues(
        readings["positive"], readings["negative"], readings.get("hard_negative"), arms.paired
    )


def _all_negatives(arms: ArmValues) -> NDArray[np.float64]:
    if arms.hard_negative is None:
        return arms.negative
    return np.concatenate([arms.negative, arms.hard_negative])
