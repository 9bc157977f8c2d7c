"""What a search is, and what it is given: a space, a score, a budget, and chance by its seed.

@searches.register("mine")
@dataclass(frozen=True)
class Mine:
    def run(self, problem):
        while True:
            states = [problem.space.random(problem.rng) for _ in range(64)]
            problem.scores(states)          # raises SpentError at the end
            yield problem.spent
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.maximization.space import Space, State
from clerestory.registry import Registry, filled

__all__ = [
    "Gains",
    "Problem",
    "Row",
    "Sample",
    "Search",
    "SpentError",
    "known_searches",
    "searches",
]

Gains = NDArray[np.float64]
"""`[word, vocabulary]`: about how much better a sequence gets by this word at this place."""
PATIENCE = 50
"""Sequences asked for, for each evaluation of the budget, after which a search has come to rest."""


class SpentError(Exception):
    """The budget is spent, or nothing new has been asked for in a long time."""


class Search(Protocol):
    """Asks a problem for scores until the budget is spent; a seed replays it."""

    def run(self, problem: Problem) -> Iterator[int]:
        """Yield after every batch, the evaluations so far; SpentError ends it."""


@dataclass(frozen=True)
class Row:
    """One line of a trail: a prompt as it was first scored."""

    words: str
    prompt: str
    score: float
    fluency: float
    evaluations: int
    chain: int


@dataclass(frozen=True)
class Sample:
    """Where a chain was after burn-in: at one score after another, as exp(score / T) says."""

    chain: int
    draw: int
    words: str
    score: float


@dataclass(eq=False)
class Problem:
    """What a search works on.

    `value` scores prompts, `fluency` says how likely their words are (nats per word), and weighs
    `weight`; `slope` gives the gains of gradient searches. `scale` is the standard deviation of
    random prompts' scores: temperatures are in its units. `trail` has every scored prompt once,
    `states` the sequence of each, `visits` the chains that took a sequence, and not only tried it;
    `samples` what chains of a stationary distribution drew from it. `asked` counts sequences that
    were asked for, scored before or not.
    """

    space: Space
    budget: int
    rng: np.random.Generator
    value: Callable[[Sequence[str]], NDArray[np.float64]]
    fluency: Callable[[Sequence[str]], NDArray[np.float64]] | None = None
    weight: float = 0.0
    slope: Callable[[Sequence[State]], list[Gains]] | None = None
    scale: float = 1.0
    spent: int = 0
    asked: int = 0
    trail: list[Row] = field(default_factory=list, repr=False)
    samples: list[Sample] = field(default_factory=list, repr=False)
    about: dict[str, Any] = field(default_factory=dict)
    visits: dict[State, set[int]] = field(default_factory=dict, repr=False)
    states: dict[str, State] = field(default_factory=dict, repr=False)
    _seen: dict[State, tuple[float, float]] = field(default_factory=dict, repr=False)
    _slopes: dict[State, Gains] = field(default_factory=dict, repr=False)

    @property
    def left(self) -> int:
        """Evaluations that are not spent."""
        return self.budget - self.spent

    def scores(
        self, states: Sequence[State], chains: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """Score and weighed fluency of each; -inf for what is no valid prompt.

        A prompt counts once, however often it is asked for. SpentError where the budget does not
        hold all that is new.
        """
        parts = self.parts(states, chains)
        return np.asarray(parts[:, 0] + self.weight * parts[:, 1])

    def parts(
        self, states: Sequence[State], chains: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """`[state, 2]`: score and fluency apart."""
        self.asked += len(states)
        self._score([one for one in dict.fromkeys(states) if one not in self._seen], states, chains)
        if self.asked > PATIENCE * self.budget:
            raise SpentError
        return np.array([self._seen[state] for state in states]).reshape(-1, 2)

    def visit(self, states: Sequence[State], chains: Sequence[int]) -> None:
        """Each of these chains is at, or keeps, this sequence: its own find."""
        for state, chain in zip(states, chains, strict=True):
            self.visits.setdefault(state, set()).add(chain)

    def gains(self, states: Sequence[State]) -> list[Gains]:
        """For each the gains of every word at every place; each new gradient is two evaluations.

        SearchError where the objective has no gradient.
        """
        if self.slope is None:
            raise SearchError(
                "This objective has no gradient: text sites have one. Take another search."
            )
        new = [one for one in dict.fromkeys(states) if one not in self._slopes]
        if 2 * len(new) > self.left:
            raise SpentError
        if new:
            self.spent += 2 * len(new)
            self._slopes |= dict(zip(new, self.slope(new), strict=True))
        found = [self._slopes[state] for state in states]
        if len(self._slopes) > 4096:
            self._slopes.clear()
        return found

    def _score(
        self, new: Sequence[State], states: Sequence[State], chains: Sequence[int] | None
    ) -> None:
        fine = self.space.valid(new) if new else []
        good = [state for state, valid in zip(new, fine, strict=True) if valid]
        if len(good) > self.left:
            raise SpentError
        self._seen |= dict.fromkeys(set(new) - set(good), (-np.inf, 0.0))
        if not good:
            return
        texts = [self.space.text(state) for state in good]
        values = self.value(texts)
        likely = np.zeros(len(texts))
        if self.fluency is not None:
            likely = self.fluency([self.space.words(state) for state in good])
        by_state = {} if chains is None else dict(zip(states, chains, strict=True))
        for state, text, value, fluent in zip(good, texts, values, likely, strict=True):
            self.spent += 1
            self._seen[state] = (float(value), float(fluent))
            self.states[text] = state
            words, chain = self.space.words(state), by_state.get(state, 0)
            self.trail.append(Row(words, text, float(value), float(fluent), self.spent, chain))


searches: Registry[Callable[..., Search]] = Registry("search")
"""Searches by name: classes whose fields are their settings."""


@functools.cache
def known_searches() -> Registry[Callable[..., Search]]:
    """The searches, with those of installed plug-ins (entry points `clerestory.searches`)."""
    return filled(searches, "clerestory.maximization.searches", "clerestory.searches")
