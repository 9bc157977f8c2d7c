"""Random words: what everything else is held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clerestory.maximization.base import Problem, searches

__all__ = ["Random"]


@searches.register("random")
@dataclass(frozen=True)
class Random:
    """Sequences of random words, each as likely as any other."""

    batch: int = 64

    def run(self, problem: Problem) -> Iterator[int]:
        """Until the budget is spent."""
        while problem.left:
            count = min(self.batch, problem.left)
            problem.scores([problem.space.random(problem.rng) for _ in range(count)])
            yield problem.spent
