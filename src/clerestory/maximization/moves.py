"""Moves that searches share: random draws, and replace, insert, delete, swap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.maximization.base import BudgetSpentError, Problem
from clerestory.maximization.space import Space, State

__all__ = ["best_random", "perturb", "random_valid", "replace_word"]

MOVES = {"replace": 0.7, "swap": 0.1, "insert": 0.1, "delete": 0.1}
"""Probability of each kind of proposal."""
ATTEMPTS = 1000
"""Rounds of random sequences, after which valid ones count as too rare."""


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

    Insertion and deletion are inverse to each other and equally probable, but an insertion also
    chooses a word: hence the log of the vocabulary's size in the correction. A word next to an
    equal one can be inserted in as many ways as it can be deleted, so these factors cancel.

    Args:
        state: The current sequence, of one word or more.
        space: Its space.
        rng: The generator.

    Returns:
        The new sequence, which may lie outside of the space, and log q(back) - log q(there), the
        correction in the Hastings ratio.
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
        # An insertion picks one of as many words, and one deletion undoes it:
        # log q(back) − log q(there).
        return (*state[:at], int(rng.integers(words)), *state[at:]), float(np.log(words))
    at = int(rng.integers(length))
    return (*state[:at], *state[at + 1 :]), -float(np.log(words))


def random_valid(problem: Problem, count: int) -> list[State]:
    """Valid random sequences.

    Args:
        problem: Its space and generator are used; nothing is scored.
        count: Number of sequences; they may repeat.

    Returns:
        `count` sequences.

    Raises:
        SearchError: Valid sequences are too rare.
        BudgetSpentError: `count` exceeds the rest of the budget.
    """
    states: list[State] = []
    for _ in range(ATTEMPTS):
        draws = [problem.space.random(problem.rng) for _ in range(count)]
        valid = problem.space.valid(draws)
        states += [state for state, is_valid in zip(draws, valid, strict=True) if is_valid]
        if len(states) >= count:
            # Before anything is scored, so that starting points are complete or not scored at all.
            if problem.remaining < count:
                raise BudgetSpentError
            return states[:count]
    raise SearchError(f"Of {ATTEMPTS * count:,} random prompts {len(states)} are valid: ban less.")


def best_random(
    problem: Problem, chains: int, tries: int, keep: int
) -> tuple[list[State], NDArray[np.float64]]:
    """Starting points: the best of random sequences that each chain draws for itself.

    Args:
        problem: The problem.
        chains: Number of chains.
        tries: Random sequences of a chain.
        keep: Number of these that a chain keeps.

    Returns:
        The sequences and their scores, chain by chain, the best first.
    """
    draws = random_valid(problem, chains * tries)
    numbers = [index // tries for index in range(len(draws))]
    scores = problem.scores(draws, numbers).reshape(chains, tries)
    # Stable, so that ties do not depend on the machine.
    best = np.argsort(-scores, axis=1, kind="stable")[:, :keep]
    states = [draws[chain * tries + at] for chain, row in enumerate(best) for at in row.tolist()]
    return states, np.take_along_axis(scores, best, axis=1).ravel()
