"""Every prompt of a small space: the known optimum."""

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
    """All sequences, `batch` at a time; refuses a space that the budget does not hold."""

    batch: int = 256

    def run(self, problem: Problem) -> Iterator[int]:
        """Score the whole space once.

        Args:
            problem: What to search.

        Raises:
            SearchError: The space has more sequences than the budget holds.
        """
        if problem.space.size > problem.budget:
            raise SearchError(
                f"There are {problem.space.size:,} sequences and the budget is "
                f"{problem.budget:,}: raise it, or take fewer words."
            )
        sequences = problem.space.sequences()
        while batch := list(itertools.islice(sequences, self.batch)):
            problem.scores(batch)
            yield problem.spent
