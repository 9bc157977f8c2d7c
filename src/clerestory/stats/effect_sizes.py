"""How large a difference is: between groups, and between two clouds of features."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from clerestory.errors import EvidenceError

__all__ = ["frechet_distance", "omega_squared"]

Gaussian = tuple[Float[np.ndarray, " feature"], Float[np.ndarray, "feature feature"]]
"""Mean and covariance."""


def omega_squared(
    values: Float[np.ndarray, "n unit"], groups: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " unit"]:
    """ω²: the share of a unit's variance between groups, without the bias of η².

    Args:
        values: Activations.
        groups: The group of each row.

    Returns:
        At most 1. Where groups do not differ, values scatter around 0; 0 for a constant unit.

    Raises:
        EvidenceError: There are fewer than two groups, or no group has two rows.

    Source: Hays 1963; (SSb − (k − 1) MSw) / (SSt + MSw).

    >>> omega_squared(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])).round(4)
    array([0.9245])
    """
    codes = np.unique(groups)
    count, within = len(values), len(values) - len(codes)
    if len(codes) < 2 or within < 1:
        raise EvidenceError(f"{count} values in {len(codes)} groups: ω² needs two, one with two.")
    mean = values.mean(0)
    total = ((values - mean) ** 2).sum(0)
    between = np.zeros(values.shape[1])
    for code in codes:
        members = values[groups == code]
        between += len(members) * (members.mean(0) - mean) ** 2
    # In the formula above this is MSw; `total` is SSt, and `between` is SSb.
    mean_square = (total - between) / within
    denominator = total + mean_square
    # Relative to the mean: rounding leaves a constant unit a variance that is not exactly 0.
    constant = denominator <= 1e-12 * np.maximum(mean**2, np.finfo(np.float64).tiny) * count
    share = (between - (len(codes) - 1) * mean_square) / np.where(constant, 1.0, denominator)
    return np.asarray(np.where(constant, 0.0, share))


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
