"""How far each name of a pool lies from the others, and how consistently: arrays only.

deviation = deviations([rates, embeddings])         # [name, context, unit]
distances(deviation), consistencies(deviation)      # [name]
first_name_p(distances(deviation))                  # of the first name; the others are its controls

All names are treated alike: which of them is the phrase enters only in `first_name_p`. So p is
exact for a name that is exchangeable with its controls: at most .01 in one of a hundred cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clerestory.types import Floats

__all__ = ["consistencies", "deviations", "distances", "first_name_p"]

TOLERANCE = 1e-9
"""Relative difference below which distances count as equal."""


def deviations(blocks: Sequence[Floats]) -> Floats:
    """Each name's difference from the mean of all *other* names, context by context.

    Args:
        blocks: Features of different kinds, each `[name, context, unit]`.

    Returns:
        The blocks one after the other along the last axis, each divided by its root mean square
        over the pool, so that they count alike. A block in which no name differs counts nothing.

    >>> deviations([np.array([[[0.0]], [[0.0]], [[3.0]]])]).ravel().round(2).tolist()
    [-0.71, -0.71, 1.41]
    """
    # float64, since distances are small differences of similar rates.
    return np.concatenate([_scaled(np.asarray(block, np.float64)) for block in blocks], axis=2)


def distances(deviations: Floats) -> Floats:
    """The norm of each name's mean deviation over contexts, `[name]`.

    Args:
        deviations: `[name, context, unit]`.

    Returns:
        `[name]`, in root mean squares of the pool.
    """
    return np.asarray(np.linalg.norm(deviations.mean(1), axis=1))


def consistencies(deviations: Floats) -> Floats:
    """The mean cosine between a name's deviations in two different contexts, `[name]`.

    1 where they are the same in all contexts, about 0 where they have nothing in common; a context
    without a deviation counts as 0, and with a single context it is NaN.

    Args:
        deviations: `[name, context, unit]`.

    Returns:
        `[name]`, −1 to 1.

    >>> consistencies(np.array([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])).tolist()
    [1.0, 0.0]
    """
    contexts = deviations.shape[1]
    if contexts < 2:
        return np.full(len(deviations), np.nan)
    norms = np.linalg.norm(deviations, axis=2, keepdims=True)
    units = np.divide(deviations, norms, out=np.zeros_like(deviations), where=norms > 0)
    # The square of a sum is the sum of all products; those of a context with itself are taken off.
    all_pairs, same = (units.sum(1) ** 2).sum(1), (units**2).sum((1, 2))
    return np.asarray((all_pairs - same) / (contexts * (contexts - 1)))


def first_name_p(distances: Floats) -> float:
    """The share of the pool, the first name included, that lies at least as far as the first name.

    Args:
        distances: `[name]`.

    Returns:
        A one-sided p; at least one over the number of names.

    Source: Phipson & Smyth 2010.

    >>> first_name_p(np.array([3.0, 1.0, 2.0, 4.0]))
    0.5
    """
    # A tolerance, so that rounding does not decide between names of equal distance.
    farther = distances[1:] >= distances[0] * (1 - TOLERANCE)
    # The name counts as one of the pool, so that p is never 0.
    return float((1 + farther.sum()) / len(distances))


def _scaled(block: Floats) -> Floats:
    """Each name's difference from the mean of the others, over the block's root mean square."""
    # The difference from the mean of all others, from that of all: a factor of n / (n - 1).
    difference = (block - block.mean(0)) * (len(block) / (len(block) - 1))
    scale = np.sqrt((difference**2).sum(2).mean())
    # A block in which nothing differs is all zeros already.
    return np.asarray(difference / scale if scale > 0 else difference)
