"""How far each name of a pool lies from the others, and how alike in all contexts: arrays only.

away = deviations([rates, embeddings])      # [name, context, unit]
distances(away), consistencies(away)        # [name]
chance(distances(away))                     # of the first name, the others its controls

Every name is treated as every other: which of them is asked about does not enter before `chance`.
So where it is one like its controls, its p is exact: at most .01 in one of a hundred cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["chance", "consistencies", "deviations", "distances"]

Floats = NDArray[np.float64]
TIE = 1e-9
"""Distances closer than this share of themselves are taken for equal."""


def deviations(blocks: Sequence[NDArray[np.floating]]) -> Floats:
    """Each name's difference in each context from the mean of all *other* names there.

    Blocks `[name, context, unit]` of different kinds stand side by side in the last axis, each in
    units of its own root mean square over the pool, so that they count alike. A block in which no
    name differs counts nothing.

    >>> deviations([np.array([[[0.0]], [[0.0]], [[3.0]]])]).ravel().round(2).tolist()
    [-0.71, -0.71, 1.41]
    """
    return np.concatenate([_scaled(np.asarray(block, np.float64)) for block in blocks], axis=2)


def distances(away: Floats) -> Floats:
    """The length of each name's deviation, averaged over contexts first."""
    return np.asarray(np.linalg.norm(away.mean(1), axis=1))


def consistencies(away: Floats) -> Floats:
    """The mean cosine between a name's deviations in two different contexts.

    1 where they are the same in all contexts, about 0 where they have nothing in common; a context
    without a deviation counts as 0, and with a single context it is NaN.

    >>> consistencies(np.array([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])).tolist()
    [1.0, 0.0]
    """
    contexts = away.shape[1]
    if contexts < 2:
        return np.full(len(away), np.nan)
    lengths = np.linalg.norm(away, axis=2, keepdims=True)
    units = np.divide(away, lengths, out=np.zeros_like(away), where=lengths > 0)
    every, same = (units.sum(1) ** 2).sum(1), (units**2).sum((1, 2))
    return np.asarray((every - same) / (contexts * (contexts - 1)))


def chance(distance: Floats) -> float:
    """The p of the first name: the share of the pool, itself included, that lies as far or farther.

    Source: Phipson & Smyth 2010.

    >>> chance(np.array([3.0, 1.0, 2.0, 4.0]))
    0.5
    """
    farther = distance[1:] >= distance[0] * (1 - TIE)
    return float((1 + farther.sum()) / len(distance))


def _scaled(block: Floats) -> Floats:
    away = (block - block.mean(0)) * (len(block) / (len(block) - 1))
    size = np.sqrt((away**2).sum(2).mean())
    return np.asarray(away / size if size > 0 else away)
