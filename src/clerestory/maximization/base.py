"""The interface of search algorithms, and the problem that one solves.

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
from typing import Any, Protocol, runtime_checkable

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
"""Requests for each evaluation of the budget, after which a search counts as converged."""
CACHED_GAINS = 4096
"""Sequences whose gains are cached; the gains of one have the size of the vocabulary."""


class BudgetSpentError(Exception):
    """The budget is spent, or the search requests only sequences that are scored already."""


@runtime_checkable
class Search(Protocol):
    """A search algorithm, which inherits from this class or only has its method.

    The fields of the class are the settings of the search.
    """

    def run(self, problem: Problem) -> Iterator[int]:
        """Score sequences until the budget is spent.

        Args:
            problem: The problem; its generator is the only source of randomness, so that a seed
                replays the search.

        Yields:
            The number of evaluations so far, after every batch.

        Raises:
            BudgetSpentError: The budget is spent, which ends the search.
            SearchError: The search does not suit the problem.
        """


@dataclass(frozen=True)
class ScoredPrompt:
    """One row of a trail: a prompt at its first evaluation.

    Attributes:
        words: The words in the template.
        prompt: The whole prompt.
        score: The objective, without fluency.
        fluency: Mean log probability of a word, in nats; 0 if it is not measured.
        evaluations: Evaluations so far, this one included.
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
    """A draw of a chain after burn-in, from the distribution exp(score / temperature) / Z."""

    chain: int
    draw: int
    words: str
    score: float


@dataclass(eq=False)
class Problem:
    """A space of prompts, an objective and a budget, with the scores so far.

    Attributes:
        space: The prompts.
        budget: Number of evaluations: a prompt takes one, a gradient two.
        rng: The generator.
        score_prompts: Returns the objective of each prompt, `[prompt]`.
        score_fluency: Returns the fluency of each sequence of words in nats, `[prompt]`; None if
            fluency does not count.
        fluency_weight: Score that a nat of fluency adds.
        gradient: Returns the gains of sequences; None if the objective has no gradient.
        scale: Standard deviation of random prompts' scores, the unit of temperatures.
        spent: Evaluations so far.
        requested: Sequences that were requested so far, repetitions included.
        trail: Every scored prompt once, in order.
        samples: Draws of chains from their stationary distribution.
        diagnostics: Figures about the search itself, ready for JSON.
        visits: The chains that accepted each sequence; a proposal alone does not count.
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
    _parts: dict[State, tuple[float, float]] = field(default_factory=dict, repr=False)
    _gains: dict[State, Gains] = field(default_factory=dict, repr=False)

    @property
    def remaining(self) -> int:
        """Evaluations that are left."""
        return self.budget - self.spent

    def scores(
        self, states: Sequence[State], chains: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """Objective plus weighted fluency, `[state]`; -inf for an invalid prompt.

        Args:
            states: Sequences; one takes one evaluation, however often it is requested.
            chains: The chain that requests each; 0 if None.

        Raises:
            BudgetSpentError: The new sequences exceed the budget.

        Returns:
            `[state]`.
        """
        parts = self.score_parts(states, chains)
        return np.asarray(parts[:, 0] + self.fluency_weight * parts[:, 1])

    def score_parts(
        self, states: Sequence[State], chains: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """The two parts of `scores`, with the same arguments and errors.

        Returns:
            `[state, 2]`: the objective, and fluency in nats a word; -inf and 0 for an invalid
            prompt.

        Args:
            states: Sequences.
            chains: The chain that requests each; 0 if None.

        Raises:
            BudgetSpentError: The new sequences exceed the budget, or only known ones are
                requested.
        """
        # Known sequences count too: this is the only sign of a search that goes in circles.
        self.requested += len(states)
        new = [state for state in dict.fromkeys(states) if state not in self._parts]
        self._score(new, {} if chains is None else dict(zip(states, chains, strict=True)))
        # A converged search requests only known sequences, which spend nothing: without this limit
        # it would never end.
        if self.requested > PATIENCE * self.budget:
            raise BudgetSpentError
        return np.array([self._parts[state] for state in states]).reshape(-1, 2)

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
            states: Valid sequences of the space.

        Returns:
            For each sequence, `[position, word]` in units of the objective.

        Raises:
            SearchError: The objective has no gradient.
            BudgetSpentError: The new gradients exceed the budget.
        """
        if self.gradient is None:
            raise SearchError(
                "This objective has no gradient with respect to words: its classifier has none, or "
                "the model has no text encoder of its own. Use another search."
            )
        new = [state for state in dict.fromkeys(states) if state not in self._gains]
        # Checked before it is spent, so that a search never exceeds its budget.
        if 2 * len(new) > self.remaining:
            raise BudgetSpentError
        if new:
            self.spent += 2 * len(new)
            self._gains |= dict(zip(new, self.gradient(new), strict=True))
        gains = [self._gains[state] for state in states]
        # Cleared after the rows are taken, so that one call never loses what it has just computed.
        if len(self._gains) > CACHED_GAINS:
            self._gains.clear()
        return gains

    def _score(self, states: Sequence[State], chains: dict[State, int]) -> None:
        valid = self.space.valid(states) if states else []
        new = [state for state, is_valid in zip(states, valid, strict=True) if is_valid]
        # None of them is scored: half a generation would have no meaning to its search.
        if len(new) > self.remaining:
            raise BudgetSpentError
        # Invalid sequences are cached too, at no cost: chains propose the same ones again.
        self._parts |= dict.fromkeys(set(states) - set(new), (-np.inf, 0.0))
        if not new:
            return
        prompts = [self.space.text(state) for state in new]
        words = [self.space.words(state) for state in new]
        scores = self.score_prompts(prompts)
        fluency = np.zeros(len(new)) if self.score_fluency is None else self.score_fluency(words)
        for state, prompt, text, *parts in zip(new, prompts, words, scores, fluency, strict=True):
            self.spent += 1
            score, nats = map(float, parts)
            self._parts[state] = score, nats
            # By prompt, since the trail holds texts and results need the sequence behind them.
            self.states[prompt] = state
            chain = chains.get(state, 0)
            self.trail.append(ScoredPrompt(text, prompt, score, nats, self.spent, chain))


searches: Registry[Callable[..., Search]] = Registry(
    "search", package="clerestory.maximization.searches", group="clerestory.searches"
)
"""Searches by name: classes whose fields are their settings."""
