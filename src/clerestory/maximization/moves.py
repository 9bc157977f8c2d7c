"""Changes of a sequence that searches share: random draws, and replace, insert, delete, swap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.maximization.base import BudgetSpentError, Problem
from clerestory.maximization.space import Space, State

__all__ = ["best_random", "perturb", "random_valid", "replace_word"]

MOVES = {"replace": 0.7, "swap": 0.1, "insert": 0.1, "delete": 0.1}
"""How often each kind of change is proposed."""
ATTEMPTS = 1000
"""Rounds of random sequences after which valid ones are taken to be too rare."""


def replace_word(state: State, position: int, word: int) -> State:
    """The sequence with another word at a position.

    Args:
        state: The sequence.
        position: An index into it.
        word: An index into the vocabulary.

    Returns:
        A new sequence of the same length.
    """
    return (*state[:position], word, *state[position + 1 :])


def perturb(state: State, space: Space, rng: np.random.Generator) -> tuple[State, float]:
    """Propose a random change.

    Insertion and deletion undo each other and are proposed equally often, but an insertion chooses
    a word, which a deletion does not: log of the vocabulary's size. A word beside an equal one can
    be inserted in as many ways as it can be deleted, so these cancel.

    Args:
        state: The present sequence, of one word or more.
        space: Where it is from.
        rng: The generator.

    Returns:
        The new sequence, which may lie outside of the space, and log q(back) - log q(there).
    """
    kinds = list(MOVES)
    kind = kinds[int(rng.choice(len(kinds), p=list(MOVES.values())))]
    words, length = len(space.vocabulary), len(state)
    if kind == "replace":
        return replace_word(state, int(rng.integers(length)), int(rng.integers(words))), 0.0
    if kind == "swap":
        first, second = rng.integers(length, size=2)
        swapped = list(state)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        return tuple(swapped), 0.0
    if kind == "insert":
        at = int(rng.integers(length + 1))
        return (*state[:at], int(rng.integers(words)), *state[at:]), float(np.log(words))
    at = int(rng.integers(length))
    return (*state[:at], *state[at + 1 :]), -float(np.log(words))


def random_valid(problem: Problem, count: int) -> list[State]:
    """Valid random sequences.

    Args:
        problem: Its space and generator are used; nothing is scored.
        count: How many sequences; they may repeat.

    Returns:
        `count` sequences.

    Raises:
        SearchError: They are too rare to be met.
        BudgetSpentError: The budget does not hold as many.
    """
    found: list[State] = []
    for _ in range(ATTEMPTS):
        drawn = [problem.space.random(problem.rng) for _ in range(count)]
        valid = problem.space.valid(drawn)
        found += [state for state, good in zip(drawn, valid, strict=True) if good]
        if len(found) >= count:
            # Checked before anything is scored, so that a start is whole or does not take place.
            if problem.remaining < count:
                raise BudgetSpentError
            return found[:count]
    raise SearchError(f"Of {ATTEMPTS * count:,} random prompts {len(found)} are valid: ban less.")


def best_random(
    problem: Problem, chains: int, tries: int, kept: int
) -> tuple[list[State], NDArray[np.float64]]:
    """Starting points: the best of random sequences that each chain draws for itself.

    Args:
        problem: What is searched.
        chains: How many chains.
        tries: Random sequences a chain.
        kept: How many of these a chain keeps.

    Returns:
        The sequences and their scores, chain by chain, the best first.
    """
    drawn = random_valid(problem, chains * tries)
    numbers = [index // tries for index in range(len(drawn))]
    scores = problem.scores(drawn, numbers).reshape(chains, tries)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    states = [drawn[chain * tries + at] for chain, row in enumerate(best) for at in row.tolist()]
    return states, np.take_along_axis(scores, best, axis=1).ravel()
