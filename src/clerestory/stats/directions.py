"""Directions at a site, fitted to two arms of samples."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from clerestory.errors import EvidenceError

__all__ = ["logistic_direction", "rank_by_separation"]

NEGLIGIBLE = 1e-9
"""Standard deviation, relative to a unit's largest value, below which it counts as constant."""


def logistic_direction(
    positive: Float[np.ndarray, "n unit"],
    negative: Float[np.ndarray, "m unit"],
    strength: float = 1.0,
) -> Float[np.ndarray, " unit"]:
    """Weights of an L2-regularised logistic regression of the arm on the activations.

    It is fitted on standardised units, and both arms have the same total weight.

    Args:
        positive: Activations of samples with the concept.
        negative: Activations of samples without the concept.
        strength: Strength of the regularisation, 1 / C of scikit-learn.

    Returns:
        The direction, in the units of the activations; 0 for constant units.

    Raises:
        EvidenceError: An arm is empty.

    Source: `sklearn.linear_model.LogisticRegression`.

    >>> positive = np.array([[2.0, 5.0], [3.0, 5.0]])
    >>> direction = logistic_direction(positive, np.array([[0.0, 5.0], [1.0, 5.0]]))
    >>> bool(direction[0] > 0), float(direction[1])
    (True, 0.0)
    """
    from sklearn.linear_model import LogisticRegression  # takes most of a second to import

    if not len(positive) or not len(negative):
        raise EvidenceError(
            f"An arm is empty: {len(positive)} positive and {len(negative)} negative samples."
        )
    # float64, in which the solver works; in float32 its convergence depends on the machine.
    values = np.concatenate([positive, negative]).astype(np.float64)
    spread = values.std(0)
    # A constant unit cannot be standardised: it is left out, and its weight stays 0.
    varies = spread > NEGLIGIBLE * np.abs(values).max(0, initial=0.0)
    direction = np.zeros(values.shape[1])
    if not varies.any():
        return direction
    # Standardised, so that the penalty treats units of all scales alike.
    scaled = (values[:, varies] - values[:, varies].mean(0)) / spread[varies]
    arm = np.repeat([1, 0], [len(positive), len(negative)])
    # "balanced", since there may be more negative than positive samples. 1,000 iterations, since
    # scikit-learn's default of 100 can end before convergence, with a warning.
    regression = LogisticRegression(C=1 / strength, class_weight="balanced", max_iter=1000)
    # Divided by the spread, weights of standardised units become weights of the activations.
    direction[varies] = regression.fit(scaled, arm).coef_[0] / spread[varies]
    return direction


def rank_by_separation(
    positive: Float[np.ndarray, "n unit"], negative: Float[np.ndarray, "m unit"]
) -> Int[np.ndarray, " unit"]:
    """Rank units by the distance between the two arms' means, in pooled standard deviations.

    Args:
        positive: Activations of samples with the concept.
        negative: Activations of samples without the concept.

    Returns:
        Indices of units, the best separated first; ties keep the order of the units.

    Source: the maximum mean difference of Gurnee et al. 2023, standardised.

    >>> positive, negative = np.array([[2.0, 9.0], [3.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 8.0]])
    >>> rank_by_separation(positive, negative)
    array([0, 1])
    """
    spread = np.sqrt((positive.var(0) + negative.var(0)) / 2)
    # Units that are constant in both arms have no spread to divide by.
    floor = np.finfo(np.float64).tiny + NEGLIGIBLE * np.abs(positive).max(0, initial=0.0)
    distance = np.abs(positive.mean(0) - negative.mean(0)) / np.maximum(spread, floor)
    # Stable, so that units with equal distances keep their order on every machine.
    return np.argsort(-distance, kind="stable")
