"""Small changes of a sequence: replace, insert, delete, swap."""

from __future__ import annotations

import numpy as np

from clerestory.maximization.space import Space, State

__all__ = ["moved", "replaced"]

SHARES = {"replace": 0.7, "swap": 0.1, "insert": 0.1, "delete": 0.1}


def replaced(state: State, place: int, word: int) -> State:
    """The sequence with another word at a place."""
    return (*state[:place], word, *state[place + 1 :])


def moved(state: State, space: Space, rng: np.random.Generator) -> tuple[State, float]:
    """A random change, and log q(back) - log q(there).

    Insertion and deletion undo each other and are as often tried, but an insertion has a choice of
    words that a deletion has not: log of the vocabulary's size. A word beside its like can come in
    as many ways as it can go, so the ways cancel. What leaves the space is given all the same, and
    is for the caller to refuse.
    """
    kinds = list(SHARES)
    kind = kinds[int(rng.choice(len(kinds), p=list(SHARES.values())))]
    words, length = len(space.vocabulary), len(state)
    if kind == "replace":
        return replaced(state, int(rng.integers(length)), int(rng.integers(words))), 0.0
    if kind == "swap":
        one, other = rng.integers(length, size=2)
        swapped = list(state)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        return tuple(swapped), 0.0
    if kind == "insert":
        at = int(rng.integers(length + 1))
        return (*state[:at], int(rng.integers(words)), *state[at:]), float(np.log(words))
    at = int(rng.integers(length))
    return (*state[:at], *state[at + 1 :]), -float(np.log(words))
