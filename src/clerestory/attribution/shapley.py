"""Shapley values and interactions of games, computed by shapiq: arrays only.

A game is a value for each coalition of pieces. Every replicate (a paraphrase) is a game of its own.
Shapley values and second-order interactions (k-SII) are computed separately, because the first
order of k-SII is not the Shapley value.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clerestory.types import Bools, Floats

__all__ = [
    "MAX_EXACT",
    "Indices",
    "all_coalitions",
    "exact_indices",
    "sampled_coalitions",
    "sampled_indices",
    "single_coalitions",
]

MAX_EXACT = 10
"""Pieces up to which every coalition is measured."""

Game = Callable[[Bools], Floats]
"""The values `[coalition]` of coalitions `[coalition, piece]`."""


@dataclass(frozen=True, eq=False)
class Indices:
    """Shapley values and interactions of every replicate.

    Attributes:
        shapley: `[replicate, piece]`.
        interactions: k-SII of order two, `[replicate, pair]`.
        pairs: The pieces of each pair.
        completeness_error: The largest difference, over replicates, between the value of all
            pieces (less that of none) and the sum of its parts.
        sampling_error: The standard error of a piece's mean value that comes from sampling
            coalitions; 0 where all were measured.
    """

    shapley: Floats = field(repr=False)
    interactions: Floats = field(repr=False)
    pairs: tuple[tuple[int, int], ...]
    completeness_error: float
    sampling_error: float = 0.0


def all_coalitions(pieces: int) -> Bools:
    """Every coalition `[coalition, piece]`, the empty one first and the full one last.

    Args:
        pieces: How many pieces; there are 2 ** pieces rows.

    Returns:
        Booleans; row number n has piece k where bit k of n is set.
    """
    # Reversed, so that coalition i holds the pieces of the bits that are set in i.
    return np.array([each[::-1] for each in itertools.product([False, True], repeat=pieces)])


def single_coalitions(pieces: int) -> Bools:
    """The empty coalition, each piece by itself, and the full one, `[2 + piece, piece]`.

    Args:
        pieces: How many pieces.

    Returns:
        Booleans.
    """
    none, full = np.zeros((1, pieces)), np.ones((1, pieces))
    return np.concatenate([none, np.eye(pieces), full]).astype(bool)


def exact_indices(values: Floats) -> Indices:
    """Compute indices from the values of all coalitions.

    Args:
        values: `[replicate, coalition]`, in the order of `all_coalitions`.

    Returns:
        The indices, with a sampling error of 0.

    >>> exact_indices(np.array([[0.0, 1.0, 2.0, 5.0]])).shapley.tolist()
    [[2.0, 3.0]]
    """
    pieces = int(np.log2(values.shape[1]))
    pairs = tuple(itertools.combinations(range(pieces), 2))
    if values.shape[1] <= len(values):
        # Indices are linear in the values: with many replicates a matrix product is faster.
        shapley, interactions = (values @ weights for weights in _weights(pieces))
    else:
        each = [_indices(row, pieces) for row in values]
        shapley, interactions = (np.array(part) for part in zip(*each, strict=True))
    total = values[:, -1] - values[:, 0]
    # Both sum to the value of all pieces, by the axiom of efficiency.
    errors = [np.abs(part.sum(1) - total).max() for part in (shapley, interactions)]
    return Indices(shapley, interactions[:, pieces:], pairs, float(max(errors)))


def sampled_coalitions(pieces: int, budget: int, seed: int) -> list[Bools]:
    """List the coalitions that the two independent estimates of a replicate will evaluate.

    Args:
        pieces: How many there are.
        budget: Coalitions per estimate.
        seed: The replicate's index.

    Returns:
        Two arrays, `[coalition, piece]` each.
    """
    samples = []
    for half in (0, 1):
        requests: list[Bools] = []

        # The list is bound as a default: the name is rebound in the next half.
        def record(coalitions: Bools, requests: list[Bools] = requests) -> Floats:
            requests.append(np.atleast_2d(coalitions).astype(bool))
            return np.zeros(len(requests[-1]))

        # shapiq draws coalitions by its seed alone, not by their values: zeros show which it will
        # request.
        _estimates(pieces, budget, 2 * seed + half, record)
        samples.append(np.unique(np.concatenate(requests), axis=0))
    return samples


def sampled_indices(
    games: Sequence[Game], pieces: int, budget: int, seeds: Sequence[int] | None = None
) -> Indices:
    """Estimate indices of games, each by two independent samples of coalitions.

    The two estimates are averaged, and half their difference is the sampling error of a replicate.

    Args:
        games: One for each replicate.
        pieces: How many pieces; the values are those of `sampled_coalitions` and of the two ends.
        budget: Coalitions per estimate.
        seeds: The seed of each game, as for `sampled_coalitions`; by default its index.

    Returns:
        The indices, with both errors.
    """
    pairs = tuple(itertools.combinations(range(pieces), 2))
    halves = np.array(
        [
            [_estimates(pieces, budget, 2 * seed + half, game) for half in (0, 1)]
            # The same seeds as in `sampled_coalitions`: only those coalitions were measured.
            for seed, game in zip(seeds or range(len(games)), games, strict=True)
        ]
    )
    estimates = halves.mean(1)
    # Half the difference of two independent estimates is a draw of the error of their mean.
    deviations = (halves[:, 0] - halves[:, 1])[:, :pieces] / 2
    ends = np.array([game(single_coalitions(pieces)[[0, -1]]) for game in games])
    errors = np.abs(estimates[:, :pieces].sum(1) - (ends[:, 1] - ends[:, 0]))
    return Indices(
        estimates[:, :pieces],
        estimates[:, pieces:],
        pairs,
        float(errors.max()),
        float(np.sqrt((deviations**2).mean() / len(games))),
    )


@functools.cache
def _weights(pieces: int) -> tuple[Floats, Floats]:
    """The weight of every coalition in each index, `[coalition, index]`."""
    # The indices of unit games are the weights, by linearity.
    each = [_indices(row, pieces) for row in np.eye(2**pieces)]
    shapley, interactions = zip(*each, strict=True)
    return np.array(shapley), np.array(interactions)


def _indices(values: Floats, pieces: int) -> tuple[Floats, Floats]:
    """Shapley values `[piece]`, and k-SII of order one and two `[piece + pair]`."""
    # Imported where it is used: it takes seconds, and most of the library does not need it.
    import shapiq

    place_values = 1 << np.arange(pieces)

    def game(coalitions: Any) -> Floats:
        return np.asarray(values[np.atleast_2d(coalitions).astype(int) @ place_values])

    computer = shapiq.ExactComputer(n_players=pieces, game=game)
    shapley = computer("SV", 1)
    # One piece has no pair, and shapiq computes no second order for it.
    interactions = computer("k-SII", 2) if pieces > 1 else shapley
    return _as_array(shapley, pieces, 1), _as_array(interactions, pieces, 2)


def _estimates(pieces: int, budget: int, seed: int, game: Callable[[Any], Floats]) -> Floats:
    """`[piece + pair]`: Shapley values by KernelSHAP, interactions by KernelSHAP-IQ."""
    import shapiq

    values = shapiq.KernelSHAP(n=pieces, random_state=seed).approximate(budget, game)
    interactions = shapiq.KernelSHAPIQ(
        n=pieces, max_order=2, index="k-SII", random_state=seed
    ).approximate(budget, game)
    return np.concatenate(
        [_as_array(values, pieces, 1), _as_array(interactions, pieces, 2)[pieces:]]
    )


def _as_array(values: Any, pieces: int, order: int) -> Floats:
    """shapiq's values by piece and, for order two, by pair."""
    keys: list[tuple[int, ...]] = [(piece,) for piece in range(pieces)]
    if order > 1:
        keys += itertools.combinations(range(pieces), 2)
    return np.array([values[key] for key in keys], dtype=np.float64)
