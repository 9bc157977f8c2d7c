"""Small spaces whose every score is known: words with values of their own, and for one another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from clerestory.maximization.base import Problem
from clerestory.maximization.space import Space, State

NOISE = 0.3
"""How wrong the planted gradient is, in standard deviations of what a word brings."""


class Planted:
    """What each of `words` words brings in each of `places` places, and with its neighbour."""

    def __init__(self, words: int, places: int, seed: int, size: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.alone = size * rng.normal(size=(places, words))
        self.beside = size * 0.5 * rng.normal(size=(places - 1, words, words))
        names = tuple(f"w{number}" for number in range(words))
        self.space = Space(names, places, places)
        self.off = NOISE * size * rng.normal(size=(places, words))
        self.places, self.words = places, words

    def score(self, state: State) -> float:
        alone = sum(self.alone[at, word] for at, word in enumerate(state))
        beside = sum(
            self.beside[at, one, other] for at, (one, other) in enumerate(itertools.pairwise(state))
        )
        return float(alone + beside)

    def value(self, texts: Sequence[str]) -> np.ndarray:
        return np.array(
            [self.score(tuple(int(word[1:]) for word in text.split())) for text in texts]
        )

    def gradient(self, states: Sequence[State]) -> list[np.ndarray]:
        """What each replacement would bring, and an error that stays the same."""
        found = []
        for state in states:
            gains = self.alone + self.off
            for at in range(self.places):
                if at:
                    gains[at] = gains[at] + self.beside[at - 1, state[at - 1]]
                if at < self.places - 1:
                    gains[at] = gains[at] + self.beside[at, :, state[at + 1]]
            own = np.array([gains[at, word] for at, word in enumerate(state)])
            found.append(gains - own[:, None])
        return found

    def all(self) -> np.ndarray:
        """Every score, an axis for each place."""
        grid = np.ix_(*[range(self.words)] * self.places)
        alone = sum(self.alone[at][grid[at]] for at in range(self.places))
        beside = sum(self.beside[at][grid[at], grid[at + 1]] for at in range(self.places - 1))
        return alone + beside

    def problem(self, budget: int, seed: int) -> Problem:
        return Problem(
            self.space,
            budget,
            np.random.default_rng(seed),
            self.value,
            gradient=self.gradient,
            scale=float(self.all().std()),
        )
