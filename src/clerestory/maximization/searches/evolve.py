"""A population that keeps the Pareto front of score against fluency.

The best by each of several weights of fluency survive and breed: parents are crossed and mutated.
Source: Thompson et al. 2024 (EPO), without its gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from clerestory.maximization.base import Problem, Search, searches
from clerestory.maximization.moves import best_random, perturb, random_valid
from clerestory.maximization.space import State

__all__ = ["Evolve"]


@searches.register("evolve")
@dataclass(frozen=True)
class Evolve(Search):
    """A genetic algorithm on separate islands.

    Attributes:
        population: Sequences on all islands together.
        islands: Number of islands.
        crossover: The share of children that have two parents.
        initial: The share of the budget for random sequences, whose best are the first generation;
            at most four times an island's size.
        weights: Weights of fluency that are added to the problem's, in standard deviations of
            random prompts' scores a nat; unused if fluency does not count.
        patience: Generations without improvement before all but the best of an island is replaced.
    """

    population: int = 48
    islands: int = 3
    crossover: float = 0.2
    initial: float = 0.1
    weights: tuple[float, ...] = (0.0, 0.1, 0.3)
    patience: int = 12

    @override
    def run(self, problem: Problem) -> Iterator[int]:
        # Fewer than four have no variety to cross.
        size = max(self.population // self.islands, 4)
        tries = size + min(int(self.initial * problem.budget) // self.islands, 3 * size)
        states, _ = best_random(problem, self.islands, tries, size)
        # Islands exchange nothing, so that they are independent evidence for a prompt.
        populations = [states[start : start + size] for start in range(0, len(states), size)]
        best, idle = [-np.inf] * self.islands, [0] * self.islands
        while True:
            for number, island in enumerate(populations):
                children = [self._child(island, problem) for _ in range(size)]
                problem.scores(children, [number] * size)
                survivors, top = self._select([*island, *children], size, problem, number)
                problem.visit(survivors, [number] * len(survivors))
                idle[number] = 0 if top > best[number] else idle[number] + 1
                best[number] = max(best[number], top)
                # An island that no longer improves has lost its variety.
                if idle[number] > self.patience:
                    # Its best one stays.
                    survivors = [*survivors[:1], *random_valid(problem, size - 1)]
                    idle[number] = 0
                populations[number] = survivors
                yield problem.spent

    def _child(self, island: list[State], problem: Problem) -> State:
        rng = problem.rng
        # The better of two random indices: an island is in order, the best first.
        picks = np.minimum(rng.integers(len(island), size=2), rng.integers(len(island), size=2))
        child, parent = (island[int(at)] for at in picks)
        if rng.random() < self.crossover:
            # At one point, which keeps phrases together: activations depend on word order.
            cut = int(rng.integers(1, max(len(child), 2)))
            child = (*child[:cut], *parent[cut:])
        # One or two changes: a single one rarely leaves a local optimum.
        for _ in range(1 + int(rng.integers(2))):
            changed, _ = perturb(child, problem.space, rng) if child else (parent, 0.0)
            # A deletion may leave nothing, which is no prompt: the child is then unchanged.
            child = changed or child
        return child

    def _select(
        self, island: list[State], size: int, problem: Problem, number: int
    ) -> tuple[list[State], float]:
        """Survivors, the best by each weight in turn, and the highest score."""
        states = list(dict.fromkeys(island))
        parts = problem.score_parts(states, [number] * len(states))
        weights = self.weights if problem.score_fluency is not None else (0.0,)
        orders = [
            np.argsort(-(parts[:, 0] + (problem.fluency_weight + w * problem.scale) * parts[:, 1]))
            for w in weights
        ]
        # Interleaved, so that each weight has its share; the dict drops repetitions.
        ranking = dict.fromkeys(int(at) for turn in zip(*orders, strict=True) for at in turn)
        total = parts[:, 0] + problem.fluency_weight * parts[:, 1]
        return [states[at] for at in ranking][:size], float(total.max())
