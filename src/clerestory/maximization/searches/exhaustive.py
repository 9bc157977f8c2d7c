"""Every prompt of a small space: the known optimum."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from typing_extensions import override

from clerestory.errors import SearchError
from clerestory.maximization.base import Problem, Search, searches

__all__ = ["Exhaustive"]


@searches.register("exhaustive")
@dataclass(frozen=True)
class Exhaustive(Search):
    """All sequences, `batch` at a time; a space larger than the budget is an error."""

    batch: int = 256

    @override
    def run(self, problem: Problem) -> Iterator[int]:
        if problem.space.size > problem.budget:
            raise SearchError(
                f"There are {problem.space.size:,} sequences and the budget is "
                f"{problem.budget:,}: raise it, or use fewer words."
            )
        sequences = problem.space.sequences()
        while batch := list(itertools.islice(sequences, self.batch)):
            problem.scores(batch)
            yield problem.spent
