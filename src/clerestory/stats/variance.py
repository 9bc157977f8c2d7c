"""How much of what varies lies between groups."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from clerestory.errors import EvidenceError

__all__ = ["omega_squared"]


def omega_squared(
    values: Float[np.ndarray, "n unit"], groups: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " unit"]:
    """ω² `[unit]`: the share of a unit's variance that lies between groups, without η²'s optimism.

    About 0, and as often below, where groups do not differ; 0 for a unit that does not vary.
    Source: Hays 1963; (SSb − (k − 1) MSw) / (SSt + MSw).

    >>> omega_squared(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])).round(4)
    array([0.9245])
    """
    kinds = np.unique(groups)
    count, within = len(values), len(values) - len(kinds)
    if len(kinds) < 2 or within < 1:
        raise EvidenceError(f"{count} values in {len(kinds)} groups: ω² needs two, one with two.")
    middle = values.mean(0)
    total = ((values - middle) ** 2).sum(0)
    between = np.zeros(values.shape[1])
    for kind in kinds:
        own = values[groups == kind]
        between += len(own) * (own.mean(0) - middle) ** 2
    noise = (total - between) / within
    whole = total + noise
    still = whole <= 1e-12 * np.maximum(middle**2, np.finfo(np.float64).tiny) * count
    share = (between - (len(kinds) - 1) * noise) / np.where(still, 1.0, whole)
    return np.asarray(np.where(still, 0.0, share))
