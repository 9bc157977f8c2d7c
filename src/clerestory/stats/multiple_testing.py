"""Many tests at once: how much of what was found would have been found in noise."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from clerestory.stats.ranks import signed_rank_p, signed_ranks

__all__ = ["benjamini_hochberg", "flips_that_find"]

CHUNK = 50
"""Flipped data sets held in memory together."""


def benjamini_hochberg(p: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """For each p the q: the share of false findings among all units with a q as low.

    Of nothing, nothing. Source: Benjamini & Hochberg 1995, by
    `scipy.stats.false_discovery_control`.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.02, 0.5]))
    array([0.04      , 0.05333333, 0.04      , 0.5       ])
    """
    return np.asarray(stats.false_discovery_control(p)) if p.size else p.copy()


def flips_that_find(
    differences: Float[np.ndarray, "pair unit"],
    rng: np.random.Generator,
    *,
    flips: int = 200,
    q: float = 0.05,
) -> int:
    """In how many of `flips` data sets without an effect anything at all is found at this `q`.

    Each data set flips the two sides of random pairs, in all units together, so that units stay as
    correlated as they are. If the tests hold, that is about `q` of them, whatever the data. With
    fewer than about six pairs no unit can be found, flipped or not.

    >>> noise = np.random.default_rng(0).normal(size=(24, 500))
    >>> flips_that_find(noise, np.random.default_rng(1)) <= 20
    True
    """
    signed = signed_ranks(differences)
    total = np.abs(signed).sum(0)
    signs = rng.choice(np.array([-1.0, 1.0]), size=(flips, len(differences)))
    steps = q * np.arange(1, total.size + 1) / total.size
    found = 0
    for start in range(0, flips, CHUNK):
        p = signed_rank_p((total + signs[start : start + CHUNK] @ signed) / 2, signed)
        found += int((np.sort(p, axis=1) <= steps).any(1).sum())
    return found
