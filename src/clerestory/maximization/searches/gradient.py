"""Greedy coordinate gradient: the gradient proposes words, the score disposes.

At each place the words that the gradient likes best are candidates; of a batch of single
replacements the best is taken. Where nothing is better any more, it begins again elsewhere.
Source: Zou et al. 2023, as in nanoGCG.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clerestory.maximization.base import Gains, Problem, searches
from clerestory.maximization.searches.metropolis import started
from clerestory.maximization.searches.moves import replaced
from clerestory.maximization.space import State

__all__ = ["Gradient"]


@searches.register("gradient")
@dataclass(frozen=True)
class Gradient:
    """`candidates` single replacements a round, each among the `top` words of its place.

    Each start is the best of `drawn` random sequences: where a unit is silent the gradient is dumb.
    """

    candidates: int = 64
    top: int = 64
    drawn: int = 64
    patience: int = 3

    def run(self, problem: Problem) -> Iterator[int]:
        """Until the budget is spent; after `patience` rounds without gain from a new start."""
        start = 0
        while True:
            drawn = started(problem, min(self.drawn, max(problem.left, 1)))
            scores = problem.scores(drawn, [start] * len(drawn))
            state, score, idle = drawn[int(scores.argmax())], scores.max(), 0
            while idle < self.patience:
                problem.visit([state], [start])
                (gains,) = problem.gains([state])
                tried = self._tried(state, gains, problem)
                scores = problem.scores(tried, [start] * len(tried))
                best = int(scores.argmax())
                idle = 0 if scores[best] > score else idle + 1
                if scores[best] > score:
                    state, score = tried[best], scores[best]
                yield problem.spent
            start += 1

    def _tried(self, state: State, gains: Gains, problem: Problem) -> list[State]:
        top = min(self.top, gains.shape[1])
        likely = np.argpartition(-gains, top - 1, axis=1)[:, :top]
        count = min(self.candidates, problem.left)
        places = problem.rng.integers(len(state), size=max(count, 1))
        words = likely[places, problem.rng.integers(top, size=len(places))]
        tried = [replaced(state, int(p), int(w)) for p, w in zip(places, words, strict=True)]
        return list(dict.fromkeys(tried))
