"""The pool of random prompts that a search is compared with, and its size.

A search of B evaluations is compared with a random search of B evaluations, as it would come out
for prompts from a pool of N: with N ≥ 40 B a search that exceeds the whole pool has p ≤ .025.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from clerestory.maximization.base import Problem
from clerestory.maximization.moves import random_valid
from clerestory.maximization.scoring import Scorer
from clerestory.maximization.space import Space

__all__ = ["POOL_RATIO", "SCALE_PROMPTS", "draw_pool", "pool_size"]

POOL_RATIO = 40
"""Random prompts for each evaluation of the search."""
SCALE_PROMPTS = 500
"""Prompts at the head of the pool, whose standard deviation scales the search's temperatures."""
POOL_SEED = (0, 500)
"""A stream of its own: no search draws from it, and searches of one space share its prompts."""


def pool_size(scorer: Scorer, budget: int, count: int | None = None) -> int:
    """How many random prompts a search is compared with.

    Args:
        scorer: The objective.
        budget: Evaluations of the search.
        count: The number that a caller chose.

    Returns:
        `count`; by default 40 times the budget where the text encoder alone is run, and 500 where
        more would take hours, so that the result is undecided.
    """
    if count is not None:
        return count
    return POOL_RATIO * budget if scorer.is_seed_independent else SCALE_PROMPTS


def draw_pool(space: Space, count: int) -> tuple[list[str], bool]:
    """Draw different random prompts of a space.

    Args:
        space: The space.
        count: How many.

    Returns:
        The prompts, and whether they are all that the space has: a small space may have fewer. The
        first prompts of a larger pool are those of a smaller one, while the space is large.

    Raises:
        SearchError: Valid prompts are too rare.
    """
    rng = np.random.default_rng(POOL_SEED)
    # Random draws of nearly all prompts would rarely meet the last ones: a small space is listed.
    if space.size <= 2 * count:
        prompts = list(_every_prompt(space))
        if len(prompts) <= count:
            return prompts, True
        return [prompts[index] for index in rng.permutation(len(prompts))[:count]], False
    # A problem without an objective: only its space and its generator are used.
    drawing = Problem(space, count, rng, lambda prompts: np.zeros(len(prompts)))
    texts: dict[str, None] = {}
    # Different prompts, since a search scores no prompt twice either.
    while len(texts) < count:
        texts |= dict.fromkeys(map(space.text, random_valid(drawing, count)))
    return list(itertools.islice(texts, count)), False


def _every_prompt(space: Space) -> Iterator[str]:
    """All valid prompts of a space, each once."""
    states = list(space.sequences())
    valid = space.valid(states)
    yield from dict.fromkeys(
        space.text(state) for state, is_valid in zip(states, valid, strict=True) if is_valid
    )
