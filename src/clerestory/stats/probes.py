"""Probes: linear classifiers whose weights are a direction."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from clerestory.errors import EvidenceError

__all__ = ["logistic", "standing_out"]


def logistic(
    shown: Float[np.ndarray, "n unit"], absent: Float[np.ndarray, "m unit"], strength: float = 1.0
) -> Float[np.ndarray, " unit"]:
    """The direction of an L2-regularised logistic regression, in the activations' own measure.

    Fitted on standardised units, each side with the same weight in all; constant units get 0.
    `strength` is that of the regularisation. Source: `sklearn.linear_model.LogisticRegression`.

    >>> shown, absent = np.array([[2.0, 5.0], [3.0, 5.0]]), np.array([[0.0, 5.0], [1.0, 5.0]])
    >>> direction = logistic(shown, absent)
    >>> bool(direction[0] > 0), float(direction[1])
    (True, 0.0)
    """
    from sklearn.linear_model import LogisticRegression

    if not len(shown) or not len(absent):
        raise EvidenceError(f"A side is empty: {len(shown)} shown, {len(absent)} absent.")
    values = np.concatenate([shown, absent]).astype(np.float64)
    spread = values.std(0)
    varies = spread > 1e-9 * np.abs(values).max(0, initial=0.0)
    direction = np.zeros(values.shape[1])
    if not varies.any():
        return direction
    scaled = (values[:, varies] - values[:, varies].mean(0)) / spread[varies]
    side = np.repeat([1, 0], [len(shown), len(absent)])
    fitted = LogisticRegression(C=1 / strength, class_weight="balanced", max_iter=1000)
    direction[varies] = fitted.fit(scaled, side).coef_[0] / spread[varies]
    return direction


def standing_out(
    shown: Float[np.ndarray, "n unit"], absent: Float[np.ndarray, "m unit"]
) -> Int[np.ndarray, " unit"]:
    """Units in the order of how far their two means lie apart, in pooled standard deviations.

    Source: the maximum mean difference of Gurnee et al. 2023, standardised.

    >>> shown, absent = np.array([[2.0, 9.0], [3.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 8.0]])
    >>> standing_out(shown, absent)
    array([0, 1])
    """
    spread = np.sqrt((shown.var(0) + absent.var(0)) / 2)
    floor = np.finfo(np.float64).tiny + 1e-9 * np.abs(shown).max(0, initial=0.0)
    apart = np.abs(shown.mean(0) - absent.mean(0)) / np.maximum(spread, floor)
    return np.argsort(-apart, kind="stable")
