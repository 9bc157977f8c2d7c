"""What a search is, and what it is given: a space of prompts, a score, a budget and a generator.

@searches.register("hill-climb")
@dataclass(frozen=True)
class HillClimb:
    def run(self, problem):
        while True:
            states = [problem.space.random(problem.rng) for _ in range(64)]
            problem.scores(states)          # raises BudgetSpentError at the end
            yield problem.spent
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.maximization.space import Space, State
from clerestory.registry import Registry

__all__ = [
    "BudgetSpentError",
    "ChainSample",
    "Gains",
    "Problem",
    "ScoredPrompt",
    "Search",
    "searches",
]

Gains = NDArray[np.float64]
"""`[position, word]`: the estimated change of a sequence's score by each word at each position."""
PATIENCE = 50
"""Requests for each evaluation of the budget, after which a search is taken to have converged."""
CACHED_GAINS = 4096
"""Sequences whose gains are kept: each is an array of the size of the vocabulary."""


class BudgetSpentError(Exception):
    """The budget is spent, or nothing new has been requested in a long time."""


class Search(Protocol):
    """A search algorithm; the fields of its class are its settings."""

    def run(self, problem: Problem) -> Iterator[int]:
        """Score sequences until the budget is spent.

        Args:
            problem: What to search; its generator is the only source of randomness, so that a
                seed replays the search.

        Yields:
            The evaluations so far, after every batch.

        Raises:
            BudgetSpentError: The budget is spent, which ends the search.
            SearchError: The search does not suit the problem.
        """


@dataclass(frozen=True)
class ScoredPrompt:
    """One row of a trail: a prompt when it was first scored.

    Attributes:
        words: What was put into the template.
        prompt: The whole prompt.
        score: The objective, without fluency.
        fluency: Mean log probability of a word, in nats; 0 where it was not measured.
        evaluations: How many prompts had been scored by then, this one included.
        chain: The chain, island or start that requested it.
    """

    words: str
    prompt: str
    score: float
    fluency: float
    evaluations: int
    chain: int


@dataclass(frozen=True)
class ChainSample:
    """Where a chain was after burn-in: a draw from a distribution in exp(score / temperature)."""

    chain: int
    draw: int
    words: str
    score: float


@dataclass(eq=False)
class Problem:
    """A space to search, with what is known of it so far.

    Attributes:
        space: The prompts.
        budget: How many evaluations there are: one a prompt, two a gradient.
        rng: The generator.
        score_prompts: Gives the objective of each prompt, `[prompt]`.
        score_fluency: Gives the fluency of each sequence of words, `[prompt]`; None where it
            does not count.
        fluency_weight: What a nat of fluency adds to a score.
        gradient: Gives the gains of sequences; None where the objective has no gradient.
        scale: Standard deviation of random prompts' scores, the unit of temperatures.
        spent: Evaluations that are spent.
        requested: Sequences that were requested, scored before or not.
        trail: Every scored prompt once, in order.
        samples: What chains with a stationary distribution drew from it.
        diagnostics: What the search reports of itself, ready for JSON.
        visits: The chains that accepted a sequence, and did not only propose it.
        states: The sequence of each prompt in the trail.
    """

    space: Space
    budget: int
    rng: np.random.Generator
    score_prompts: Callable[[Sequence[str]], NDArray[np.float64]]
    score_fluency: Callable[[Sequence[str]], NDArray[np.float64]] | None = None
    fluency_weight: float = 0.0
    gradient: Callable[[Sequence[State]], list[Gains]] | None = None
    scale: float = 1.0
    spent: int = 0
    requested: int = 0
    trail: list[ScoredPrompt] = field(default_factory=list, repr=False)
    samples: list[ChainSample] = field(default_factory=list, repr=False)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    visits: dict[State, set[int]] = field(default_factory=dict, repr=False)
    states: dict[str, State] = field(default_factory=dict, repr=False)
    _known: dict[State, tuple[float, float]] = field(default_factory=dict, repr=False)
    _gains: dict[State, Gains] = field(default_factory=dict, repr=False)

    @property
    def remaining(self) -> int:
        """Evaluations that are not spent."""
        return self.budget - self.spent

    def scores(
        self, states: Sequence[State], chains: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """Score with weighted fluency, `[state]`; -inf for an invalid prompt.

        Args:
            states: Sequences; one counts once in the budget, however often it is requested.
            chains: The chain that requests each; 0 if None.

        Raises:
            BudgetSpentError: The budget does not hold all that is new.
        """
        parts = self.score_parts(states, chains)
        return np.asarray(parts[:, 0] + self.fluency_weight * parts[:, 1])

    def score_parts(
        self, states: Sequence[State], chains: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """Score, with the objective and its fluency apart; (-inf, 0) for an invalid prompt.

        Args:
            states: Sequences; one counts once in the budget, however often it is requested.
            chains: The chain that requests each; 0 if None.

        Returns:
            `[state, 2]`: the objective, and fluency in nats a word.

        Raises:
            BudgetSpentError: The budget does not hold all that is new.
        """
        self.requested += len(states)
        unknown = [state for state in dict.fromkeys(states) if state not in self._known]
        self._score(unknown, {} if chains is None else dict(zip(states, chains, strict=True)))
        # A converged search only requests what is known, which spends nothing: without this limit
        # it would never end.
        if self.requested > PATIENCE * self.budget:
            raise BudgetSpentError
        return np.array([self._known[state] for state in states]).reshape(-1, 2)

    def visit(self, states: Sequence[State], chains: Sequence[int]) -> None:
        """Record that each chain has accepted its sequence.

        Args:
            states: The sequences.
            chains: The chain of each, of the same length.
        """
        for state, chain in zip(states, chains, strict=True):
            self.visits.setdefault(state, set()).add(chain)

    def gains(self, states: Sequence[State]) -> list[Gains]:
        """The gains of each sequence; each new gradient costs two evaluations.

        Args:
            states: Sequences that the space holds.

        Returns:
            For each sequence, `[position, word]` in units of the objective.

        Raises:
            SearchError: The objective has no gradient.
            BudgetSpentError: The budget does not hold all that is new.
        """
        if self.gradient is None:
            raise SearchError(
                "This objective has no gradient: text sites have one. Take another search."
            )
        unknown = [state for state in dict.fromkeys(states) if state not in self._gains]
        if 2 * len(unknown) > self.remaining:
            raise BudgetSpentError
        if unknown:
            self.spent += 2 * len(unknown)
            self._gains |= dict(zip(unknown, self.gradient(unknown), strict=True))
        gains = [self._gains[state] for state in states]
        # Cleared after the rows are taken, so that one call never loses what it has just computed.
        if len(self._gains) > CACHED_GAINS:
            self._gains.clear()
        return gains

    def _score(self, unknown: Sequence[State], chains: dict[State, int]) -> None:
        valid = self.space.valid(unknown) if unknown else []
        new = [state for state, is_valid in zip(unknown, valid, strict=True) if is_valid]
        if len(new) > self.remaining:
            raise BudgetSpentError
        # Invalid sequences are remembered too, at no cost: chains propose the same ones again.
        self._known |= dict.fromkeys(set(unknown) - set(new), (-np.inf, 0.0))
        if not new:
            return
        prompts = [self.space.text(state) for state in new]
        words = [self.space.words(state) for state in new]
        scores = self.score_prompts(prompts)
        fluency = np.zeros(len(new)) if self.score_fluency is None else self.score_fluency(words)
        for at, state in enumerate(new):
            self.spent += 1
            self._known[state] = (float(scores[at]), float(fluency[at]))
            self.states[prompts[at]] = state
            chain = chains.get(state, 0)
            self.trail.append(
                ScoredPrompt(words[at], prompts[at], *self._known[state], self.spent, chain)
            )


searches: Registry[Callable[..., Search]] = Registry(
    "search", package="clerestory.maximization.searches", group="clerestory.searches"
)
"""Searches by name: classes whose fields are their settings."""
