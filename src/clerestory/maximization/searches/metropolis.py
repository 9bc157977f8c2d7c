"""Markov chains over word sequences, with parallel tempering.

The stationary distribution of a chain at temperature T is exp(score / T) / Z. Cold chains climb and
stay, hot ones explore; neighbours on the ladder of temperatures exchange their sequences. Source:
Metropolis et al. 1953, Hastings 1970; Geyer 1991 for tempering.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.checks import check_minimum
from clerestory.errors import SearchError
from clerestory.maximization.base import ChainSample, Problem, Search, searches
from clerestory.maximization.moves import best_random, perturb
from clerestory.maximization.space import State

__all__ = ["Chains", "Metropolis"]

SWAP_RATE = 0.3
"""Rate of exchanges between neighbours to which the ladder is adapted during burn-in."""
SMALL_SPACE = 10
"""Requests for each evaluation of burn-in after which it ends too: in a small space all sequences
are soon scored, and requests then spend nothing."""
MIN_DRAWS = 8
"""Draws a chain, up to which convergence is not estimated."""


@searches.register("metropolis")
@dataclass(frozen=True)
class Metropolis(Search):
    """Single-word edits accepted by the Metropolis rule, on ladders of temperatures.

    The ladder is adapted during burn-in, so that all neighbours exchange equally often, and then
    fixed. With two chains or more, the result has R̂ and the effective sample size of the scores at
    the lowest temperature after burn-in.

    Attributes:
        chains: Independent ladders.
        temperatures: Number of temperatures of a ladder.
        coldest: The lowest temperature, in standard deviations of random prompts' scores.
        hottest: The highest temperature, in the same unit.
        initial: The share of the budget for random sequences, on the best of which chains start.
        burn_in: The share of the budget during which the ladder is adapted.
        absolute: Whether temperatures are in units of the score itself.
    """

    chains: int = 2
    temperatures: int = 4
    coldest: float = 0.02
    hottest: float = 0.3
    initial: float = 0.1
    burn_in: float = 0.2
    absolute: bool = False

    def __post_init__(self) -> None:
        check_minimum(SearchError, 1, chains=self.chains, temperatures=self.temperatures)
        if not 0 < self.coldest <= self.hottest:
            raise SearchError(
                f"coldest is {self.coldest} and hottest {self.hottest}; 0 < coldest <= hottest."
            )

    @override
    def run(self, problem: Problem) -> Iterator[int]:
        chains = Chains.initialize(self, problem)
        try:
            while True:
                chains.step(self._propose(problem, chains))
                chains.exchange(adapt=self._is_burning_in(problem))
                yield problem.spent
        finally:
            # In `finally`, since the loop ends with BudgetSpentError.
            problem.diagnostics |= chains.diagnostics()

    def _is_burning_in(self, problem: Problem) -> bool:
        end = self.burn_in * problem.budget
        return problem.spent < end and problem.requested < SMALL_SPACE * end

    def _propose(self, problem: Problem, chains: Chains) -> list[tuple[State, float]]:
        return [perturb(state, problem.space, problem.rng) for state in chains.states]


@dataclass(eq=False)
class Chains:
    """The current state of every chain: ladder by ladder, in each from cold to hot.

    Attributes:
        problem: The problem.
        chains: Number of ladders.
        states: The current sequences.
        scores: Their scores.
        log_temperatures: Logarithms of a ladder's temperatures, `[temperature]`, lowest first.
        draws: Scores at the lowest temperature after burn-in, `[chain]` each.
        proposed: Proposals so far.
        accepted: Accepted proposals so far.
        exchanges: Rounds of exchanges so far.
    """

    problem: Problem
    chains: int
    states: list[State]
    scores: NDArray[np.float64]
    log_temperatures: NDArray[np.float64]
    draws: list[NDArray[np.float64]] = field(default_factory=list)
    proposed: int = 0
    accepted: int = 0
    exchanges: int = 0

    @classmethod
    def initialize(cls, settings: Metropolis, problem: Problem) -> Chains:
        """Start each ladder on the best of its own random sequences, the coldest on the best.

        Args:
            settings: The number of ladders, and their temperatures.
            problem: The problem; a share of its budget is spent on random sequences.

        Returns:
            Chains at their starting points.
        """
        # In standard deviations of random prompts, so that one setting serves all objectives.
        scale = 1.0 if settings.absolute else (problem.scale or 1.0)
        cold, hot = (float(np.log(scale * end)) for end in (settings.coldest, settings.hottest))
        count = settings.temperatures
        tries = max(int(settings.initial * problem.budget) // settings.chains, count)
        states, scores = best_random(problem, settings.chains, tries, count)
        log_temperatures = np.linspace(cold, hot, count)
        chains = cls(problem, settings.chains, states, scores, log_temperatures)
        problem.visit(states, chains.numbers)
        return chains

    @property
    def numbers(self) -> list[int]:
        """The chain of each state."""
        return [index // len(self.log_temperatures) for index in range(len(self.states))]

    @property
    def temperatures(self) -> NDArray[np.float64]:
        """The temperature of each state."""
        return np.tile(np.exp(self.log_temperatures), self.chains)

    def step(self, proposals: Sequence[tuple[State, float]]) -> None:
        """Accept or reject proposals, each with log q(back) - log q(there).

        Args:
            proposals: For each state a new sequence and its correction in the Hastings ratio, in
                nats.

        Raises:
            BudgetSpentError: The new sequences exceed the budget.
        """
        states = [state for state, _ in proposals]
        scores = self.problem.scores(states, self.numbers)
        correction = np.array([ratio for _, ratio in proposals])
        with np.errstate(invalid="ignore"):  # an invalid prompt scores -inf, and is rejected
            gain = (scores - self.scores) / self.temperatures + correction
        # In logarithms, which do not overflow for a large gain.
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
        count = len(self.log_temperatures)
        inverse = np.exp(-self.log_temperatures)
        # Pairs of one parity share no temperature, so all of them can be exchanged in one round.
        parity = self.exchanges % 2
        self.exchanges += 1
        for chain in range(self.chains):
            for level in range(parity, count - 1, 2):
                at = chain * count + level
                # Log of the acceptance ratio (Geyer 1991).
                gain = inverse[level] - inverse[level + 1]
                gain = gain * (self.scores[at + 1] - self.scores[at])
                if np.log(self.problem.rng.random()) < gain:
                    self._swap(at)
                if adapt:
                    self._adapt(level, min(1.0, float(np.exp(min(gain, 0.0)))))
        # While the ladder is adapted the chains have no stationary distribution.
        if not adapt:
            self._record(count)

    def diagnostics(self) -> dict[str, Any]:
        """Acceptance rate, temperatures, R̂ and effective sample size, each only if finite."""
        figures: dict[str, Any] = {
            "acceptance_rate": self.accepted / max(self.proposed, 1),
            "temperatures": np.exp(self.log_temperatures).tolist(),
        }
        draws = np.array(self.draws).T
        # R̂ compares chains, and is undefined for constant ones.
        if draws.size and draws.shape[0] > 1 and draws.shape[1] > MIN_DRAWS and np.ptp(draws) > 0:
            # Imported here, by name: arviz_stats is slow to import and has no types.
            array_stats: Any = importlib.import_module("arviz_stats.base").array_stats
            axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
            figures["r_hat"] = float(array_stats.rhat(draws, **axes))
            figures["effective_sample_size"] = float(array_stats.ess(draws, **axes))
        return {name: figure for name, figure in figures.items() if np.isfinite(figure).all()}

    def _record(self, count: int) -> None:
        """Record the lowest of the `count` temperatures of each ladder."""
        # Only the coldest chain samples the distribution that is asked for.
        scores, words = self.scores[::count].copy(), self.problem.space.words
        draw = len(self.draws)
        self.draws.append(scores)
        self.problem.samples += [
            ChainSample(chain, draw, words(state), float(score))
            for chain, (state, score) in enumerate(zip(self.states[::count], scores, strict=True))
        ]

    def _swap(self, at: int) -> None:
        states = self.states
        states[at], states[at + 1] = states[at + 1], states[at]
        self.scores[[at, at + 1]] = self.scores[[at + 1, at]]

    def _adapt(self, level: int, rate: float) -> None:
        """Widen the gap above a level if exchanges are too frequent, else narrow it."""
        gaps = np.diff(self.log_temperatures)
        total = gaps.sum()
        if total == 0:
            return
        # Steps shrink with 1/sqrt(n), so that the ladder converges; its two ends are fixed.
        gaps[level] *= np.exp((rate - SWAP_RATE) / np.sqrt(self.exchanges))
        self.log_temperatures[1:] = self.log_temperatures[0] + np.cumsum(gaps * total / gaps.sum())
