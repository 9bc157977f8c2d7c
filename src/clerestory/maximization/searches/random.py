"""Random words: the baseline of every other search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from typing_extensions import override

from clerestory.maximization.base import Problem, Search, searches

__all__ = ["Random"]


@searches.register("random")
@dataclass(frozen=True)
class Random(Search):
    """Sequences of random words, each as likely as any other, scored `batch` at a time."""

    batch: int = 64

    @override
    def run(self, problem: Problem) -> Iterator[int]:
        while problem.remaining:
            count = min(self.batch, problem.remaining)
            # Invalid sequences cost nothing and are drawn again.
            problem.scores([problem.space.random(problem.rng) for _ in range(count)])
            yield problem.spent
