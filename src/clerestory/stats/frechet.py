"""Distance between two clouds of features, each taken for a normal distribution."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["frechet"]

Cloud = tuple[Float[np.ndarray, " feature"], Float[np.ndarray, "feature feature"]]


def frechet(one: Cloud, other: Cloud) -> float:
    """Fréchet distance (squared) of two (mean, covariance): 0 if they are the same.

    It grows with the number of features and is biased upwards where a covariance comes from few
    rows: compare only distances from equally many rows, in the same features.
    Source: Dowson & Landau 1982; in pictures' features, Heusel et al. 2017.

    >>> frechet((np.zeros(2), np.eye(2)), (np.array([3.0, 4.0]), 4 * np.eye(2)))
    27.0
    """
    (mean, covariance), (mean_other, covariance_other) = one, other
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    middle = root @ covariance_other @ root
    shared = np.sqrt(np.linalg.eigvalsh((middle + middle.T) / 2).clip(0)).sum()
    apart = float(((mean - mean_other) ** 2).sum())
    spread = float(np.trace(covariance) + np.trace(covariance_other) - 2 * shared)
    return apart + max(spread, 0.0)
