"""Many tests at once: the false discovery rate, and how often noise gives a finding."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from clerestory.stats.ranks import signed_rank_p, signed_ranks

__all__ = ["benjamini_hochberg", "count_flips_with_findings"]

CHUNK = 50
"""Flipped data sets held in memory together."""


def benjamini_hochberg(p: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """Adjusted p-values that control the false discovery rate.

    Args:
        p: p-values of all tested units; may be empty.

    Returns:
        q-values: the expected share of false findings among the units whose q is not higher.

    Source: Benjamini & Hochberg 1995, by `scipy.stats.false_discovery_control`.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.02, 0.5]))
    array([0.04      , 0.05333333, 0.04      , 0.5       ])
    """
    return np.asarray(stats.false_discovery_control(p)) if p.size else p.copy()


def count_flips_with_findings(
    differences: Float[np.ndarray, "pair unit"],
    rng: np.random.Generator,
    *,
    flips: int = 200,
    q: float = 0.05,
) -> int:
    """Count the data sets without an effect in which at least one unit is found.

    Each data set swaps the two arms of random pairs, in all units together, so that the correlation
    between units stays the same. If the tests are valid, about a share `q` of the data sets has a
    finding. With fewer than about six pairs no unit can be found, flipped or not.

    Args:
        differences: Positive minus negative in each pair.
        rng: Chooses the pairs to flip.
        flips: Number of data sets.
        q: Level at which a unit counts as found.

    Returns:
        The number of data sets with a finding.

    >>> noise = np.random.default_rng(0).normal(size=(24, 500))
    >>> count_flips_with_findings(noise, np.random.default_rng(1)) <= 20
    True
    """
    signed = signed_ranks(differences)
    total = np.abs(signed).sum(0)
    # Swapping the arms of a pair changes only the sign of its rank: ranks are computed once.
    signs = rng.choice(np.array([-1.0, 1.0]), size=(flips, len(differences)))
    # Benjamini–Hochberg has a finding if and only if any sorted p is at most its threshold.
    thresholds = q * np.arange(1, total.size + 1) / total.size
    count = 0
    for start in range(0, flips, CHUNK):
        # The sum of positive ranks is (all ranks + signed ranks) / 2.
        p = signed_rank_p((total + signs[start : start + CHUNK] @ signed) / 2, signed)
        count += int((np.sort(p, axis=1) <= thresholds).any(1).sum())
    return count
