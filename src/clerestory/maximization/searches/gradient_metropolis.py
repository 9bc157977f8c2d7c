"""Markov chains with gradient-informed proposals, whose stationary distribution stays exact.

A position is picked at random, and a word for it with log odds gain / 2T; the reverse proposal has
the odds of the gradient at the new sequence, and the acceptance ratio corrects for both. Source:
Zanella 2020; Grathwohl et al. 2021 for gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from typing_extensions import override

from clerestory.maximization.base import Gains, Problem, searches
from clerestory.maximization.moves import perturb, replace_word
from clerestory.maximization.searches.metropolis import Chains, Metropolis
from clerestory.maximization.space import State

__all__ = ["GradientMetropolis"]


@searches.register("gradient-metropolis")
@dataclass(frozen=True)
class GradientMetropolis(Metropolis):
    """As `metropolis`, with proposals by the gradient among the random ones.

    Attributes:
        informed: The share of proposals that the gradient makes.
    """

    informed: float = 0.5

    @override
    def run(self, problem: Problem) -> Iterator[int]:
        problem.gains([])  # refuses an objective without a gradient before anything is scored
        return super().run(problem)

    @override
    def _propose(self, problem: Problem, chains: Chains) -> list[tuple[State, float]]:
        rng, temperatures = problem.rng, chains.temperatures
        # Drawn for all chains, used or not, so that random numbers do not depend on the gradient.
        proposals = [perturb(state, problem.space, rng) for state in chains.states]
        informed = [at for at in range(len(proposals)) if rng.random() < self.informed]
        if not informed:
            return proposals
        forward_gains = problem.gains([chains.states[at] for at in informed])
        draws = [
            self._draw(chains.states[at], gains, temperatures[at], rng)
            for at, gains in zip(informed, forward_gains, strict=True)
        ]
        valid = problem.space.valid([state for state, _, _ in draws])
        new = [draw[0] for draw, is_valid in zip(draws, valid, strict=True) if is_valid]
        reverse_gains = iter(problem.gains(new))
        for at, (state, position, forward), is_valid in zip(informed, draws, valid, strict=True):
            # A sequence outside of the space has no gradient, but scores -inf and is rejected.
            if not is_valid:
                proposals[at] = (state, 0.0)
                continue
            # The probability of going back, by the gradient at the new
            # sequence: Metropolis–Hastings.
            odds = _log_odds(next(reverse_gains)[position], temperatures[at])
            proposals[at] = (state, float(odds[chains.states[at][position]] - forward))
        return proposals

    @staticmethod
    def _draw(
        state: State, gains: Gains, temperature: float, rng: np.random.Generator
    ) -> tuple[State, int, float]:
        """A new sequence, the changed position, and log q of the proposal."""
        position = int(rng.integers(len(state)))
        odds = _log_odds(gains[position], temperature)
        word = int(rng.choice(len(odds), p=np.exp(odds)))
        return replace_word(state, position, word), position, float(odds[word])


def _log_odds(gains: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    # The half makes the proposal locally balanced: g(t) = sqrt(t) in Zanella 2020.
    return np.asarray(log_softmax(gains / (2 * temperature)))
