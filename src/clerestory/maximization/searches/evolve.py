"""A population that keeps the Pareto front of score against fluency.

The best by each of several weights of fluency are kept and bred: parents are crossed, and changed
at random. Source: Thompson et al. 2024 (EPO), without its gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clerestory.maximization.base import Problem, searches
from clerestory.maximization.moves import best_random, perturb, random_valid
from clerestory.maximization.space import State

__all__ = ["Evolve"]


@searches.register("evolve")
@dataclass(frozen=True)
class Evolve:
    """A genetic algorithm on separate islands.

    Attributes:
        population: Sequences on all islands together.
        islands: How many islands there are.
        crossover: The share of children that have two parents.
        initial: The share of the budget for random sequences, on the best of which islands begin;
            at most four times an island's size.
        weights: Weights of fluency beside the search's own, in standard deviations of random
            prompts' scores a nat; they count only where fluency does.
        patience: Generations without improvement before an island begins again, but for its best.
    """

    population: int = 48
    islands: int = 3
    crossover: float = 0.2
    initial: float = 0.1
    weights: tuple[float, ...] = (0.0, 0.1, 0.3)
    patience: int = 12

    def run(self, problem: Problem) -> Iterator[int]:
        """Breed until the budget is spent.

        Args:
            problem: What to search.
        """
        size = max(self.population // self.islands, 4)
        tries = size + min(int(self.initial * problem.budget) // self.islands, 3 * size)
        states, _ = best_random(problem, self.islands, tries, size)
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
                # An island that no longer improves has lost its variety: all but its best is
                # replaced.
                if idle[number] > self.patience:
                    survivors = [*survivors[:1], *random_valid(problem, size - 1)]
                    idle[number] = 0
                populations[number] = survivors
                yield problem.spent

    # Crossing at one point keeps phrases together, on which a text encoder's activations depend.
    def _child(self, island: list[State], problem: Problem) -> State:
        rng = problem.rng
        # The better of two random indices: an island is in order, the best first.
        picks = np.minimum(rng.integers(len(island), size=2), rng.integers(len(island), size=2))
        child, parent = (island[int(at)] for at in picks)
        if rng.random() < self.crossover:
            cut = int(rng.integers(1, max(len(child), 2)))
            child = (*child[:cut], *parent[cut:])
        for _ in range(1 + int(rng.integers(2))):
            changed, _ = perturb(child, problem.space, rng) if child else (parent, 0.0)
            # A deletion may leave nothing, which is no prompt: the child then stays as it was.
            child = changed or child
        return child

    def _select(
        self, island: list[State], size: int, problem: Problem, number: int
    ) -> tuple[list[State], float]:
        """The best by each weight in turn, each once, and the best score of all."""
        states = list(dict.fromkeys(island))
        parts = problem.score_parts(states, [number] * len(states))
        weights = self.weights if problem.score_fluency is not None else (0.0,)
        orders = [
            np.argsort(-(parts[:, 0] + (problem.fluency_weight + w * problem.scale) * parts[:, 1]))
            for w in weights
        ]
        # By turns, so that each weight keeps its share; a dict keeps the order and drops
        # repetitions.
        turns = dict.fromkeys(int(at) for turn in zip(*orders, strict=True) for at in turn)
        total = parts[:, 0] + problem.fluency_weight * parts[:, 1]
        return [states[at] for at in turns][:size], float(total.max())
