"""Markov chains whose proposals the gradient informs, and that stay exact for all that.

A place is picked at random, and a word for it with odds exp(gain / 2T); the proposal back has the
odds of the gradient there, and the acceptance ratio has both. Source: Zanella 2020; Grathwohl et
al. 2021 for gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from clerestory.maximization.base import Gains, Problem, searches
from clerestory.maximization.searches.metropolis import Chains, Metropolis
from clerestory.maximization.searches.moves import moved, replaced
from clerestory.maximization.space import State

__all__ = ["GradientMetropolis"]


@searches.register("gradient-metropolis")
@dataclass(frozen=True)
class GradientMetropolis(Metropolis):
    """As `metropolis`; the share `informed` of its proposals are replacements by the gradient."""

    informed: float = 0.5

    def run(self, problem: Problem) -> Iterator[int]:
        """Until the budget is spent."""
        problem.gains([])
        return super().run(problem)

    def _proposed(self, problem: Problem, chains: Chains) -> list[tuple[State, float]]:
        rng, temperatures = problem.rng, chains.temperatures
        proposed = [moved(state, problem.space, rng) for state in chains.states]
        chosen = [at for at in range(len(proposed)) if rng.random() < self.informed]
        if not chosen:
            return proposed
        here = problem.gains([chains.states[at] for at in chosen])
        ways = [
            self._drawn(chains.states[at], gains, temperatures[at], rng)
            for at, gains in zip(chosen, here, strict=True)
        ]
        valid = problem.space.valid([state for state, _, _ in ways])
        back = iter(problem.gains([way[0] for way, good in zip(ways, valid, strict=True) if good]))
        for at, (state, place, there), good in zip(chosen, ways, valid, strict=True):
            if not good:
                proposed[at] = (state, 0.0)
                continue
            odds = _odds(next(back)[place], temperatures[at])
            proposed[at] = (state, float(odds[chains.states[at][place]] - there))
        return proposed

    @staticmethod
    def _drawn(
        state: State, gains: Gains, temperature: float, rng: np.random.Generator
    ) -> tuple[State, int, float]:
        """Another sequence, the place that is new, and log q(there)."""
        place = int(rng.integers(len(state)))
        odds = _odds(gains[place], temperature)
        word = int(rng.choice(len(odds), p=np.exp(odds)))
        return replaced(state, place, word), place, float(odds[word])


def _odds(gains: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    return np.asarray(log_softmax(gains / (2 * temperature)))
