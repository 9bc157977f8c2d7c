"""Markov chains over word sequences, with parallel tempering.

At temperature T a chain visits sequences with a probability in exp(score / T), once it has
forgotten where it began. Cold chains climb and stay, hot ones wander; neighbours on the temperature
ladder exchange their sequences. Source: Metropolis et al. 1953, Hastings 1970; Geyer 1991 for
tempering.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.maximization.base import ChainSample, Problem, searches
from clerestory.maximization.moves import best_random, perturb
from clerestory.maximization.space import State

__all__ = ["Chains", "Metropolis"]

SWAP_RATE = 0.3
"""The rate of exchanges between neighbours that the ladder is adapted to during burn-in."""
SMALL_SPACE = 10
"""Burn-in also ends after so many requests for each of its evaluations: a small space is soon
known, and then nothing is spent any more."""
LEAST_DRAWS = 8
"""Draws a chain below which convergence is not estimated."""


@searches.register("metropolis")
@dataclass(frozen=True)
class Metropolis:
    """Single-word edits accepted by the Metropolis rule, on ladders of temperatures.

    The ladder is adapted during burn-in, so that all neighbours exchange equally often, and then
    frozen. R̂ and the effective sample size of the coldest temperature's scores after that are in
    the result, where there are two chains.

    Attributes:
        chains: Independent ladders.
        rungs: Temperatures a ladder.
        coldest: The lowest temperature, in standard deviations of random prompts' scores.
        hottest: The highest.
        initial: The share of the budget that is spent on random sequences, on the best of which
            chains begin.
        burn_in: The share of the budget until which the ladder is adapted.
        absolute: Whether temperatures are in units of the score itself.
    """

    chains: int = 2
    rungs: int = 4
    coldest: float = 0.02
    hottest: float = 0.3
    initial: float = 0.1
    burn_in: float = 0.2
    absolute: bool = False

    def __post_init__(self) -> None:
        if self.chains < 1 or self.rungs < 1 or not 0 < self.coldest <= self.hottest:
            raise SearchError("Chains and rungs are 1 or more, 0 < coldest <= hottest.")

    def run(self, problem: Problem) -> Iterator[int]:
        """Run until the budget is spent.

        Args:
            problem: What to search.
        """
        chains = Chains.begin(self, problem)
        try:
            while True:
                chains.step(self._propose(problem, chains))
                chains.exchange(adapt=self._is_burning_in(problem))
                yield problem.spent
        finally:
            # In `finally`, since the end of the budget arrives as an exception from within the
            # loop.
            problem.diagnostics |= chains.diagnostics()

    def _is_burning_in(self, problem: Problem) -> bool:
        end = self.burn_in * problem.budget
        return problem.spent < end and problem.requested < SMALL_SPACE * end

    def _propose(self, problem: Problem, chains: Chains) -> list[tuple[State, float]]:
        return [perturb(state, problem.space, problem.rng) for state in chains.states]


@dataclass(eq=False)
class Chains:
    """The present state of every chain; chain by chain, in each from cold to hot.

    Attributes:
        problem: What is searched.
        chains: How many ladders.
        states: The present sequences.
        scores: Their scores.
        log_ladder: Logarithms of the temperatures, `[rung]`, the same for every ladder.
        draws: Scores of the coldest rung after burn-in, `[chain]` each.
        proposed: Proposals so far.
        accepted: How many of them were accepted.
        exchanges: Rounds of exchanges so far.
    """

    problem: Problem
    chains: int
    states: list[State]
    scores: NDArray[np.float64]
    log_ladder: NDArray[np.float64]
    draws: list[NDArray[np.float64]] = field(default_factory=list)
    proposed: int = 0
    accepted: int = 0
    exchanges: int = 0

    @classmethod
    def begin(cls, settings: Metropolis, problem: Problem) -> Chains:
        """Each chain on the best of random sequences of its own, the coldest rung on the best.

        Args:
            settings: The numbers of ladders and rungs, and the ends of the ladder.
            problem: What is searched; a share of its budget is spent on random sequences.

        Returns:
            Chains on their starting points.
        """
        scale = 1.0 if settings.absolute else (problem.scale or 1.0)
        cold, hot = (float(np.log(scale * end)) for end in (settings.coldest, settings.hottest))
        tries = int(settings.initial * problem.budget) // settings.chains
        states, scores = best_random(
            problem, settings.chains, max(tries, settings.rungs), settings.rungs
        )
        ladder = np.linspace(cold, hot, settings.rungs)
        chains = cls(problem, settings.chains, states, scores, ladder)
        problem.visit(states, chains.numbers)
        return chains

    @property
    def numbers(self) -> list[int]:
        """The chain of each state."""
        return [index // len(self.log_ladder) for index in range(len(self.states))]

    @property
    def temperatures(self) -> NDArray[np.float64]:
        """The temperature of each state."""
        return np.tile(np.exp(self.log_ladder), self.chains)

    def step(self, proposals: Sequence[tuple[State, float]]) -> None:
        """Accept or reject proposals, each with log q(back) - log q(there).

        Args:
            proposals: For each state a new sequence and its correction in the Hastings ratio, in
                nats.

        Raises:
            BudgetSpentError: The budget does not hold all that is new.
        """
        states = [state for state, _ in proposals]
        scores = self.problem.scores(states, self.numbers)
        correction = np.array([ratio for _, ratio in proposals])
        with np.errstate(invalid="ignore"):  # an invalid prompt scores -inf, and is rejected
            gain = (scores - self.scores) / self.temperatures + correction
        accepted = np.log(self.problem.rng.random(len(states))) < gain
        self.states = [
            new if is_accepted else old
            for new, old, is_accepted in zip(states, self.states, accepted, strict=True)
        ]
        self.scores = np.where(accepted, scores, self.scores)
        self.problem.visit(self.states, self.numbers)
        self.proposed += len(states)
        self.accepted += int(accepted.sum())

    def exchange(self, *, adapt: bool) -> None:
        """Exchange sequences of neighbours on a ladder; odd and even pairs take turns.

        Args:
            adapt: Whether this is burn-in: then the ladder is adapted and nothing is recorded.
        """
        rungs = len(self.log_ladder)
        coldness = np.exp(-self.log_ladder)
        # Pairs of one parity share no rung, so all of them can be exchanged in one round.
        first = self.exchanges % 2
        self.exchanges += 1
        for chain in range(self.chains):
            for rung in range(first, rungs - 1, 2):
                at = chain * rungs + rung
                gain = coldness[rung] - coldness[rung + 1]
                gain = gain * (self.scores[at + 1] - self.scores[at])
                if np.log(self.problem.rng.random()) < gain:
                    self._swap(at)
                if adapt:
                    self._adapt(rung, min(1.0, float(np.exp(min(gain, 0.0)))))
        # Draws of a ladder that still moves have no stationary distribution.
        if not adapt:
            self._record(rungs)

    def diagnostics(self) -> dict[str, Any]:
        """Acceptance rate, temperatures, R̂ and effective sample size, as far as they are finite."""
        figures: dict[str, Any] = {
            "acceptance_rate": self.accepted / max(self.proposed, 1),
            "temperatures": np.exp(self.log_ladder).tolist(),
        }
        draws = np.array(self.draws).T
        if draws.size and draws.shape[0] > 1 and draws.shape[1] > LEAST_DRAWS and np.ptp(draws) > 0:
            # Imported here, by name: arviz_stats is slow to import and has no types.
            array_stats: Any = importlib.import_module("arviz_stats.base").array_stats
            axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
            figures["r_hat"] = float(array_stats.rhat(draws, **axes))
            figures["effective_sample_size"] = float(array_stats.ess(draws, **axes))
        return {name: figure for name, figure in figures.items() if np.isfinite(figure).all()}

    def _record(self, rungs: int) -> None:
        """Record the coldest rung of each chain."""
        scores, words = self.scores[::rungs].copy(), self.problem.space.words
        draw = len(self.draws)
        self.draws.append(scores)
        self.problem.samples += [
            ChainSample(chain, draw, words(state), float(score))
            for chain, (state, score) in enumerate(zip(self.states[::rungs], scores, strict=True))
        ]

    def _swap(self, at: int) -> None:
        states = self.states
        states[at], states[at + 1] = states[at + 1], states[at]
        self.scores[[at, at + 1]] = self.scores[[at + 1, at]]

    def _adapt(self, rung: int, rate: float) -> None:
        """Widen a gap that is passed too often, narrow one that is passed too seldom."""
        gaps = np.diff(self.log_ladder)
        total = gaps.sum()
        if total == 0:
            return
        # The steps shrink with 1/sqrt(n), so that the ladder settles; its two ends stay where they
        # are.
        gaps[rung] *= np.exp((rate - SWAP_RATE) / np.sqrt(self.exchanges))
        self.log_ladder[1:] = self.log_ladder[0] + np.cumsum(gaps * total / gaps.sum())
