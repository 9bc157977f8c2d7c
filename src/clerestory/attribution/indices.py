"""Values of coalitions to Shapley values and interactions, by shapiq.

A game is a value for each coalition of pieces; every replicate is a game of its own, and intervals
are over replicates. Shapley values and second-order interactions (k-SII) are asked for separately:
the first orders of k-SII are no Shapley values.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT", "Indices", "coalitions", "exact", "few", "sampled", "sampled_coalitions"]

EXACT = 10
"""Pieces up to which every coalition is looked at."""
Matrix = NDArray[np.float64]
Coalitions = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Indices:
    """Of each replicate: `shapley` `[replicate, piece]`, `interactions` `[replicate, pair]`.

    `pairs` are the pairs in their order. `completeness_error` is the largest difference, over
    replicates, between what is split and the sum of its parts. `sampling_error` is the standard
    error of a piece's value that comes of sampling coalitions, 0 where all were looked at.
    """

    shapley: Matrix = field(repr=False)
    interactions: Matrix = field(repr=False)
    pairs: tuple[tuple[int, int], ...]
    completeness_error: float
    sampling_error: float = 0.0


def coalitions(pieces: int) -> Coalitions:
    """All of them, `[coalition, piece]`: none first, all last."""
    every = itertools.product([False, True], repeat=pieces)
    return np.array([one[::-1] for one in every])


def exact(values: Matrix) -> Indices:
    """Indices of games `[replicate, coalition]` in the order of `coalitions`."""
    pieces = int(np.log2(values.shape[1]))
    pairs = tuple(itertools.combinations(range(pieces), 2))
    if values.shape[1] <= len(values):
        shapley, kinds = (values @ table for table in _tables(pieces))
    else:
        each = [_indices(row, pieces) for row in values]
        shapley, kinds = (np.array(part) for part in zip(*each, strict=True))
    whole = values[:, -1] - values[:, 0]
    apart = [np.abs(part.sum(1) - whole).max() for part in (shapley, kinds)]
    return Indices(shapley, kinds[:, pieces:], pairs, float(max(apart)))


def sampled_coalitions(pieces: int, budget: int, seed: int) -> list[Coalitions]:
    """The coalitions that two independent estimates of a replicate look at."""
    found = []
    for each in (0, 1):
        asked: list[Coalitions] = []

        def note(those: Coalitions, asked: list[Coalitions] = asked) -> Matrix:
            asked.append(np.atleast_2d(those).astype(bool))
            return np.zeros(len(asked[-1]))

        _estimates(pieces, budget, 2 * seed + each, note)
        found.append(np.unique(np.concatenate(asked), axis=0))
    return found


def sampled(games: Sequence[Callable[[Coalitions], Matrix]], pieces: int, budget: int) -> Indices:
    """Indices of games by two independent samples of coalitions each, as `sampled_coalitions`."""
    pairs = tuple(itertools.combinations(range(pieces), 2))
    halves = np.array(
        [
            [_estimates(pieces, budget, 2 * seed + each, game) for each in (0, 1)]
            for seed, game in enumerate(games)
        ]
    )
    found = halves.mean(1)
    spread = (halves[:, 0] - halves[:, 1])[:, :pieces] / 2
    ends = np.array([game(few(pieces)[[0, -1]]) for game in games])
    apart = np.abs(found[:, :pieces].sum(1) - (ends[:, 1] - ends[:, 0])).max()
    return Indices(
        found[:, :pieces],
        found[:, pieces:],
        pairs,
        float(apart),
        float(np.sqrt((spread**2).mean() / len(games))),
    )


def few(pieces: int) -> Coalitions:
    """Those of no piece, of each alone, and of all."""
    none, every = np.zeros((1, pieces)), np.ones((1, pieces))
    return np.concatenate([none, np.eye(pieces), every]).astype(bool)


@functools.cache
def _tables(pieces: int) -> tuple[Matrix, Matrix]:
    """What every coalition counts for: both indices are linear in the game."""
    each = [_indices(row, pieces) for row in np.eye(2**pieces)]
    shapley, kinds = zip(*each, strict=True)
    return np.array(shapley), np.array(kinds)


def _indices(values: Matrix, pieces: int) -> tuple[Matrix, Matrix]:
    """Shapley values `[piece]`, and k-SII of order one and two `[piece + pair]`."""
    import shapiq

    places = 1 << np.arange(pieces)

    def game(those: Any) -> Matrix:
        return np.asarray(values[np.atleast_2d(those).astype(int) @ places])

    computer = shapiq.ExactComputer(n_players=pieces, game=game)
    shapley = computer("SV", 1)
    kinds = computer("k-SII", 2) if pieces > 1 else shapley
    return _told(shapley, pieces, 1), _told(kinds, pieces, 2)


def _estimates(pieces: int, budget: int, seed: int, game: Callable[[Any], Matrix]) -> Matrix:
    """`[piece + pair]`: Shapley values by KernelSHAP, interactions by KernelSHAP-IQ."""
    import shapiq

    values = shapiq.KernelSHAP(n=pieces, random_state=seed).approximate(budget, game)
    kinds = shapiq.KernelSHAPIQ(
        n=pieces, max_order=2, index="k-SII", random_state=seed
    ).approximate(budget, game)
    return np.concatenate([_told(values, pieces, 1), _told(kinds, pieces, 2)[pieces:]])


def _told(values: Any, pieces: int, order: int) -> Matrix:
    """shapiq's values by piece, then by pair."""
    wanted: list[tuple[int, ...]] = [(one,) for one in range(pieces)]
    if order > 1:
        wanted += itertools.combinations(range(pieces), 2)
    return np.array([values[one] for one in wanted], dtype=np.float64)
