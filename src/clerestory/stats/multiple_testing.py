"""Many tests at once: the false discovery rate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

__all__ = ["benjamini_hochberg"]


def benjamini_hochberg(p: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """Adjusted p-values that control the false discovery rate.

    Args:
        p: p-values of all tested units; may be empty. NaN for units that could not be tested.

    Returns:
        q-values: the expected share of false findings among the units whose q is not higher; NaN
        for units that were not tested.

    Source: Benjamini & Hochberg 1995, by `scipy.stats.false_discovery_control`.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.02, 0.5]))
    array([0.04      , 0.05333333, 0.04      , 0.5       ])
    """
    q = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    # scipy refuses an empty array; no test needs no correction.
    if tested.any():
        q[tested] = stats.false_discovery_control(p[tested])
    return q
