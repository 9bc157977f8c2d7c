"""A population that keeps the front of score against fluency.

For each of several weights of fluency the best are kept and bred: parents are crossed, and changed
at random. What nothing else beats in both, score and fluency, is the front. Source: Thompson et
al. 2024 (EPO), without its gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.maximization.base import Problem, searches
from clerestory.maximization.searches.metropolis import best_started, started
from clerestory.maximization.searches.moves import moved
from clerestory.maximization.space import State

__all__ = ["Evolve", "front"]


@searches.register("evolve")
@dataclass(frozen=True)
class Evolve:
    """`population` sequences on `islands`; `weights` of fluency beside the search's own.

    An island begins with the best of random sequences, four times its size but for all of them
    not much over the share `drawn` of the budget.
    Weights are in standard deviations of random prompts' scores, and count only where fluency is
    asked for. Where a generation has brought nothing new for `patience` generations, an island
    begins again but for its best one.
    """

    population: int = 48
    islands: int = 3
    crossed: float = 0.2
    drawn: float = 0.1
    weights: tuple[float, ...] = (0.0, 0.1, 0.3)
    patience: int = 12

    def run(self, problem: Problem) -> Iterator[int]:
        """Until the budget is spent."""
        own = max(self.population // self.islands, 4)
        each = own + min(int(self.drawn * problem.budget) // self.islands, 3 * own)
        states, _ = best_started(problem, self.islands, each, own)
        people = [states[start : start + own] for start in range(0, len(states), own)]
        best, idle = [-np.inf] * self.islands, [0] * self.islands
        while True:
            for each, island in enumerate(people):
                young = [self._child(island, problem) for _ in range(own)]
                problem.scores(young, [each] * own)
                people[each], top = self._kept([*island, *young], own, problem, each)
                problem.visit(people[each], [each] * len(people[each]))
                idle[each] = 0 if top > best[each] else idle[each] + 1
                best[each] = max(best[each], top)
                if idle[each] > self.patience:
                    people[each], idle[each] = [*people[each][:1], *started(problem, own - 1)], 0
                yield problem.spent

    def _child(self, island: list[State], problem: Problem) -> State:
        rng = problem.rng
        pick = np.minimum(rng.integers(len(island), size=2), rng.integers(len(island), size=2))
        one, other = (island[int(at)] for at in pick)
        if rng.random() < self.crossed:
            cut = int(rng.integers(1, max(len(one), 2)))
            one = (*one[:cut], *other[cut:])
        for _ in range(1 + int(rng.integers(2))):
            changed, _ = moved(one, problem.space, rng) if one else (other, 0.0)
            one = changed or one
        return one

    def _kept(
        self, island: list[State], count: int, problem: Problem, number: int
    ) -> tuple[list[State], float]:
        """The best for each weight in turn, each once; the best score of all."""
        states = list(dict.fromkeys(island))
        parts = problem.parts(states, [number] * len(states))
        weights = self.weights if problem.fluency is not None else (0.0,)
        orders = [
            np.argsort(-(parts[:, 0] + (problem.weight + w * problem.scale) * parts[:, 1]))
            for w in weights
        ]
        turns = dict.fromkeys(int(at) for turn in zip(*orders, strict=True) for at in turn)
        whole = parts[:, 0] + problem.weight * parts[:, 1]
        return [states[at] for at in turns][:count], float(whole.max())


def front(scores: NDArray[np.float64], fluency: NDArray[np.float64]) -> list[int]:
    """Places of what nothing else beats in both, the highest score first."""
    found: list[int] = []
    most = -np.inf
    for at in np.lexsort((-fluency, -scores)).tolist():
        if fluency[at] > most:
            found.append(at)
            most = fluency[at]
    return found
