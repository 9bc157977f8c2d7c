"""Which parts of a model a causal graph keeps: the fewest that carry an effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.causal.graph_runs import GraphRuns
from clerestory.types import Progress

__all__ = ["Selection", "select_parts"]

SHARE = 0.25
"""Share of the parts that are left out at once, where that takes too little from the graph."""
TRIALS = 4
"""Graphs that are run to drop one part more than may be dropped."""


@dataclass(frozen=True)
class Selection:
    """Parts that were chosen, and how well they did there.

    Attributes:
        kept: Indices of parts.
        share: The share of the effect that they carried.
        sizes: Numbers of parts that were tried, in the order of trying.
        faithfulness: The share of the effect that each of these carried.
    """

    kept: tuple[int, ...]
    share: float
    sizes: tuple[int, ...]
    faithfulness: tuple[float, ...]


def select_parts(runs: GraphRuns, target: float, most: int, report: Progress) -> Selection:
    """Leave out parts as long as the others carry the effect.

    Parts are left out in the order of the estimated loss, many at once, and every smaller
    graph is run: where it carries too little, half as many parts are left out, and a part that
    alone takes too much stays. Where more than `most` are left, the least important are dropped
    although the graph then carries less than was asked for.
    Source: pruning in the manner of ACDC (Conmy et al. 2023, arXiv:2304.14997), in the order of
    attribution patching (Syed et al. 2023, arXiv:2310.10348).

    Args:
        runs: The selection half.
        target: The share that the graph should carry; as far above 1 is refused as below.
        most: The largest number of parts.
        report: Called after every graph.

    Returns:
        The selection.
    """
    return _Pruning(runs, target, most, report).run()


class _Pruning:
    def __init__(self, runs: GraphRuns, target: float, most: int, report: Progress) -> None:
        self.runs, self.target, self.most, self.report = runs, target, most, report
        self.kept = list(range(len(runs.parts)))
        self.total = float(runs.over_batches(lambda batch: batch.total).mean())
        # What leaving out one part alone took, where that was too much.
        self.needed: dict[int, float] = {}
        self.count = max(1, int(SHARE * len(self.kept)))
        self.sizes: list[int] = []
        self.shares: list[float] = []

    def run(self) -> Selection:
        # More parts that are needed than may stay: the target cannot be reached.
        while len(self.needed) <= self.most:
            losses = self._losses()
            order = [index for index in losses if index not in self.needed]
            left_out = self._leave_out(order)
            if not left_out:
                break
            self.kept = [index for index in self.kept if index not in left_out]
        while len(self.kept) > self.most:
            self._drop()
        share = self._share(self.kept)
        return Selection(tuple(self.kept), share, tuple(self.sizes), tuple(self.shares))

    def _losses(self) -> dict[int, float]:
        """The estimated loss of each kept part as a share of the effect, the smallest first."""
        parts = [self.runs.parts[index] for index in self.kept]
        losses = self.runs.over_batches(lambda batch: batch.losses(parts)[1])
        sizes = np.abs(losses.mean(0) / self.total)
        order = np.argsort(sizes, kind="stable")
        return {self.kept[place]: float(sizes[place]) for place in order}

    def _drop(self) -> None:
        """Drop parts although the graph then carries less: the last ones by running it."""
        # What was measured counts where it is more than what was estimated.
        losses = {
            index: max(loss, self.needed.get(index, 0)) for index, loss in self._losses().items()
        }
        order = sorted(losses, key=lambda index: losses[index])
        excess = len(self.kept) - self.most
        many = excess - int(SHARE * self.most)
        if many > 0:
            dropped = set(order[: min(many, max(1, int(SHARE * len(self.kept))))])
        else:
            # Parts depend on one another, so that the estimates of single ones are not enough.
            trials = {
                index: self._share([each for each in self.kept if each != index])
                for index in order[:TRIALS]
            }
            dropped = {min(trials, key=lambda index: abs(1 - trials[index]))}
        self.kept = [index for index in self.kept if index not in dropped]

    def _leave_out(self, order: Sequence[int]) -> set[int]:
        """The first parts of an order that can be left out together; none at the end."""
        start = 0
        while start < len(order) and len(self.needed) <= self.most:
            trial = set(order[start : start + self.count])
            kept = [index for index in self.kept if index not in trial]
            share = self._share(kept) if kept else 0.0
            # Twice as much as there is is as far from the effect as nothing.
            if abs(1 - share) <= 1 - self.target:
                self.count = min(2 * self.count, max(1, int(SHARE * len(kept))))
                return trial
            if len(trial) > 1:
                self.count = len(trial) // 2
                continue
            self.needed |= dict.fromkeys(trial, abs(1 - share))
            start += 1
        return set()

    def _share(self, kept: Sequence[int]) -> float:
        """The share of the effect that a graph carries."""
        parts = [self.runs.parts[index] for index in kept]
        share = float(self.runs.over_batches(lambda batch: batch.graph(parts)).mean()) / self.total
        self.sizes.append(len(kept))
        self.shares.append(share)
        self.report("selecting", len(self.runs.parts) - len(kept), len(self.runs.parts))
        return share
