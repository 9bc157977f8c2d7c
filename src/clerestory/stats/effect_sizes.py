"""How far two clouds of features are apart."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["frechet_distance"]

Gaussian = tuple[Float[np.ndarray, " feature"], Float[np.ndarray, "feature feature"]]
"""Mean and covariance."""


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Squared Fréchet distance of two normal distributions.

    It grows with the number of features, and is biased upwards if a covariance is estimated from
    few rows: compare only distances in the same features, from equal numbers of rows.

    Args:
        first: Mean and covariance.
        second: Mean and covariance.

    Returns:
        0 if they are the same.

    Source: Dowson & Landau 1982; in pictures' features, Heusel et al. 2017.

    >>> frechet_distance((np.zeros(2), np.eye(2)), (np.array([3.0, 4.0]), 4 * np.eye(2)))
    27.0
    """
    values, vectors = np.linalg.eigh(first[1].astype(np.float64))
    # Rounding can leave eigenvalues of a covariance a little below 0: they are clipped.
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    # The symmetric form has real eigenvalues; `scipy.linalg.sqrtm` of the plain product does not.
    product = root @ second[1] @ root
    common = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    distance = float(((first[0] - second[0]) ** 2).sum())
    spread = float(np.trace(first[1]) + np.trace(second[1]) - 2 * common)
    # The spread is never negative except by rounding.
    return distance + max(spread, 0.0)
