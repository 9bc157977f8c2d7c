"""Every prompt of a small space: the yardstick."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from clerestory.errors import SearchError
from clerestory.maximization.base import Problem, searches

__all__ = ["Exhaustive"]


@searches.register("exhaustive")
@dataclass(frozen=True)
class Exhaustive:
    """All sequences, one after another; refuses a space that the budget does not hold."""

    batch: int = 256

    def run(self, problem: Problem) -> Iterator[int]:
        """Once through the space."""
        if problem.space.size > problem.budget:
            raise SearchError(
                f"There are {problem.space.size:,} sequences and the budget is "
                f"{problem.budget:,}: raise it, or take fewer words."
            )
        every = problem.space.all()
        while chunk := list(itertools.islice(every, self.batch)):
            problem.scores(chunk)
            yield problem.spent
