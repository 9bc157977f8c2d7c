"""Markov chains over word sequences, with parallel tempering.

At temperature T a chain visits sequences as exp(score / T) says, once it has forgotten where it
began. Cold chains climb and stay, hot ones wander; neighbours on the ladder exchange their
sequences. Source: Metropolis et al. 1953, Hastings 1970; Geyer 1991 for the tempering.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.maximization.base import Problem, Sample, SpentError, searches
from clerestory.maximization.searches.moves import moved
from clerestory.maximization.space import State

__all__ = ["Chains", "Metropolis", "best_started", "started"]

SWAPPED = 0.3
"""The share of exchanges between neighbours that the ladder is set to during burn-in."""
TRIES = 1000
"""Random sequences drawn for one that is valid."""
Values = NDArray[np.float64]


@searches.register("metropolis")
@dataclass(frozen=True)
class Metropolis:
    """`chains` ladders of `rungs` temperatures each, from `coldest` to `hottest`.

    Temperatures are in standard deviations of random prompts' scores, unless `absolute`. The share
    `drawn` of the budget goes into random sequences, on the best of which chains begin. For the
    share `burn` of the budget the rungs between the ends are moved so that neighbours exchange
    alike often; then they are frozen. R̂ and the effective sample size of the coldest rung's scores
    after that are in the result, as far as there are two chains.
    """

    chains: int = 2
    rungs: int = 4
    coldest: float = 0.02
    hottest: float = 0.3
    drawn: float = 0.1
    burn: float = 0.2
    absolute: bool = False

    def __post_init__(self) -> None:
        if self.chains < 1 or self.rungs < 1 or not 0 < self.coldest <= self.hottest:
            raise SearchError("Chains and rungs are 1 or more, 0 < coldest <= hottest.")

    def run(self, problem: Problem) -> Iterator[int]:
        """Until the budget is spent."""
        chains = Chains.begin(self, problem)
        try:
            while True:
                chains.step(self._proposed(problem, chains))
                chains.exchange(adapt=self._burning(problem))
                yield problem.spent
        finally:
            problem.about |= chains.about()

    def _burning(self, problem: Problem) -> bool:
        """Until a share of the budget is spent, or asked for ten times, as small spaces need."""
        end = self.burn * problem.budget
        return problem.spent < end and problem.asked < 10 * end

    def _proposed(self, problem: Problem, chains: Chains) -> list[tuple[State, float]]:
        return [moved(state, problem.space, problem.rng) for state in chains.states]


@dataclass(eq=False)
class Chains:
    """Where every chain is; chain by chain, in each from cold to hot."""

    problem: Problem
    chains: int
    states: list[State]
    scores: Values
    log_ladder: Values
    kept: list[Values] = field(default_factory=list)
    tried: int = 0
    accepted: int = 0
    offered: int = 0

    @classmethod
    def begin(cls, how: Metropolis, problem: Problem) -> Chains:
        """Each chain on the best of random sequences of its own, the coldest rung on the best."""
        scale = 1.0 if how.absolute else (problem.scale or 1.0)
        cold, hot = (float(np.log(scale * end)) for end in (how.coldest, how.hottest))
        each = max(int(how.drawn * problem.budget) // how.chains, how.rungs)
        states, scores = best_started(problem, how.chains, each, how.rungs)
        chains = cls(problem, how.chains, states, scores, np.linspace(cold, hot, how.rungs))
        problem.visit(states, chains.numbers)
        return chains

    @property
    def numbers(self) -> list[int]:
        """Which chain each state is of."""
        rungs = len(self.log_ladder)
        return [place // rungs for place in range(len(self.states))]

    @property
    def temperatures(self) -> Values:
        """Of each state."""
        return np.tile(np.exp(self.log_ladder), self.chains)

    def step(self, proposed: Sequence[tuple[State, float]]) -> None:
        """Take each proposal or leave it; what is no valid prompt is left."""
        states = [state for state, _ in proposed]
        scores = self.problem.scores(states, self.numbers)
        ratio = np.array([back for _, back in proposed])
        with np.errstate(invalid="ignore"):
            gain = (scores - self.scores) / self.temperatures + ratio
        taken = np.log(self.problem.rng.random(len(states))) < gain
        self.states = [
            new if yes else old for new, old, yes in zip(states, self.states, taken, strict=True)
        ]
        self.scores = np.where(taken, scores, self.scores)
        self.problem.visit(self.states, self.numbers)
        self.tried, self.accepted = self.tried + len(states), self.accepted + int(taken.sum())

    def exchange(self, *, adapt: bool) -> None:
        """Neighbours on a ladder exchange their sequences; odd and even pairs take turns."""
        rungs = len(self.log_ladder)
        cold = np.exp(-self.log_ladder)
        first = self.offered % 2
        self.offered += 1
        for chain in range(self.chains):
            for rung in range(first, rungs - 1, 2):
                one = chain * rungs + rung
                gain = (cold[rung] - cold[rung + 1]) * (self.scores[one + 1] - self.scores[one])
                if np.log(self.problem.rng.random()) < gain:
                    self._swap(one)
                if adapt:
                    self._widen(rung, min(1.0, float(np.exp(min(gain, 0.0)))))
        if not adapt:
            self._keep(rungs)

    def _keep(self, rungs: int) -> None:
        """Note where the coldest rung of each chain is."""
        scores, words = self.scores[::rungs].copy(), self.problem.space.words
        draw = len(self.kept)
        self.kept.append(scores)
        self.problem.samples += [
            Sample(chain, draw, words(state), float(score))
            for chain, (state, score) in enumerate(zip(self.states[::rungs], scores, strict=True))
        ]

    def _swap(self, one: int) -> None:
        states = self.states
        states[one], states[one + 1] = states[one + 1], states[one]
        self.scores[[one, one + 1]] = self.scores[[one + 1, one]]

    def _widen(self, rung: int, rate: float) -> None:
        """A gap that is passed too often widens, one that is passed too seldom narrows."""
        gaps = np.diff(self.log_ladder)
        whole = gaps.sum()
        if whole == 0:
            return
        gaps[rung] *= np.exp((rate - SWAPPED) / np.sqrt(self.offered))
        self.log_ladder[1:] = self.log_ladder[0] + np.cumsum(gaps * whole / gaps.sum())

    def about(self) -> dict[str, Any]:
        """How the chains went: shares accepted, the ladder, R̂ and effective sample size."""
        told: dict[str, Any] = {
            "accepted": self.accepted / max(self.tried, 1),
            "temperatures": np.exp(self.log_ladder).tolist(),
        }
        drawn = np.array(self.kept).T
        if drawn.size and drawn.shape[0] > 1 and drawn.shape[1] > 8 and np.ptp(drawn) > 0:
            array_stats: Any = importlib.import_module("arviz_stats.base").array_stats

            axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
            told["r_hat"] = float(array_stats.rhat(drawn, **axes))
            told["effective"] = float(array_stats.ess(drawn, **axes))
        told = {name: of for name, of in told.items() if np.isfinite(of).all()}
        return told


def best_started(problem: Problem, chains: int, each: int, kept: int) -> tuple[list[State], Values]:
    """Of `each` valid random sequences a chain, the `kept` best, chain by chain, best first."""
    drawn = started(problem, chains * each)
    numbers = [place // each for place in range(len(drawn))]
    scores = problem.scores(drawn, numbers).reshape(chains, each)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    states = [drawn[chain * each + at] for chain, row in enumerate(best) for at in row.tolist()]
    return states, np.take_along_axis(scores, best, axis=1).ravel()


def started(problem: Problem, count: int) -> list[State]:
    """So many valid random sequences; SearchError where they are too rare to be met."""
    found: list[State] = []
    for _ in range(TRIES):
        drawn = [problem.space.random(problem.rng) for _ in range(count)]
        valid = problem.space.valid(drawn)
        found += [state for state, good in zip(drawn, valid, strict=True) if good]
        if len(found) >= count:
            if problem.left < count:
                raise SpentError
            return found[:count]
    raise SearchError(f"Of {TRIES * count:,} random prompts {len(found)} are valid: ban less.")
