"""Greedy coordinate gradient: the gradient proposes words, the score decides.

The words with the highest gains at each position are candidates; of a batch of single replacements
the best is accepted. Where none improves the score, the search restarts elsewhere. Source: Zou et
al. 2023, as in nanoGCG.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from clerestory.maximization.base import Gains, Problem, Search, searches
from clerestory.maximization.moves import random_valid, replace_word
from clerestory.maximization.space import State

__all__ = ["Gradient"]


@searches.register("gradient")
@dataclass(frozen=True)
class Gradient(Search):
    """Greedy single replacements that the gradient proposes.

    Attributes:
        candidates: Replacements that are scored in a round.
        top: Words with the highest gains that are candidates at each position.
        initial: Random sequences, the best of which is a start: where a unit is silent, its
            gradient is zero.
        patience: Rounds without improvement before a restart.
    """

    candidates: int = 64
    top: int = 64
    initial: int = 64
    patience: int = 3

    @override
    def run(self, problem: Problem) -> Iterator[int]:
        # The number of the restart, which the trail shows as a chain.
        start = 0
        while True:
            states = random_valid(problem, min(self.initial, max(problem.remaining, 1)))
            scores = problem.scores(states, [start] * len(states))
            state, score, idle = states[int(scores.argmax())], scores.max(), 0
            while idle < self.patience:
                problem.visit([state], [start])
                (gains,) = problem.gains([state])
                proposals = self._proposals(state, gains, problem)
                scores = problem.scores(proposals, [start] * len(proposals))
                best = int(scores.argmax())
                idle = 0 if scores[best] > score else idle + 1
                if scores[best] > score:
                    state, score = proposals[best], scores[best]
                yield problem.spent
            start += 1

    def _proposals(self, state: State, gains: Gains, problem: Problem) -> list[State]:
        top = min(self.top, gains.shape[1])
        # The order among the top words does not matter: one of them is drawn at random.
        best = np.argpartition(-gains, top - 1, axis=1)[:, :top]
        # A full batch that exceeds the budget would end the search with evaluations left over.
        count = min(self.candidates, problem.remaining)
        positions = problem.rng.integers(len(state), size=max(count, 1))
        words = best[positions, problem.rng.integers(top, size=len(positions))]
        proposals = [
            replace_word(state, int(position), int(word))
            for position, word in zip(positions, words, strict=True)
        ]
        return list(dict.fromkeys(proposals))
