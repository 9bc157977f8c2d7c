"""Baselines without an effect: directions to hold an edit against, and random search."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from clerestory.errors import EvidenceError

__all__ = ["baseline_p", "permuted_directions", "random_directions", "random_search_p"]


def permuted_directions(
    positive: Float[np.ndarray, "phrase unit"],
    negative: Float[np.ndarray, "other unit"],
    norm: float,
    rng: np.random.Generator,
    count: int = 99,
) -> Float[np.ndarray, "count unit"]:
    """Differences of means after the arms of whole templates were permuted.

    What two sets of templates differ in anyway: directions as typical of the site as the true one,
    without the concept. As many templates change arm as stay, so the concept cancels exactly where
    both arms have an even number of templates.

    Args:
        positive: Mean activations of each template of the positive arm, over items.
        negative: The same of the negative arm.
        norm: Length of the directions, in the units of the activations.
        rng: Chooses the templates.
        count: How many directions.

    Returns:
        The directions.

    Raises:
        EvidenceError: An arm has fewer than two templates, or templates do not differ within arms.

    >>> positive, negative = np.array([[1.0, 5.0], [-1.0, 5.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    >>> directions = permuted_directions(positive, negative, 1.0, np.random.default_rng(0), count=3)
    >>> bool(np.abs(directions[:, 1]).max() < 1e-9)
    True
    """
    if min(len(positive), len(negative)) < 2:
        raise EvidenceError(
            f"{len(positive)} and {len(negative)} templates cannot be permuted: each arm needs two."
        )
    directions = np.empty((count, positive.shape[1]))
    # A loop rather than one batched product: `rng.permutation` is drawn arm by arm, and the order
    # of draws is part of the figures.
    for row in range(count):
        # Weights +1 and −1 of each arm's templates; an odd one out takes no part.
        direction = np.zeros(positive.shape[1])
        for arm in (positive, negative):
            # Halves of one arm, never across arms: a difference between the arms is the effect
            # that the baseline must not have.
            half = len(arm) // 2
            order = rng.permutation(len(arm))
            direction += arm[order[:half]].mean(0) - arm[order[half : 2 * half]].mean(0)
        directions[row] = direction
    return _scaled(directions, norm, max(np.abs(positive).max(), np.abs(negative).max()))


def random_directions(
    activations: Float[np.ndarray, "sample unit"],
    norm: float,
    rng: np.random.Generator,
    count: int = 99,
) -> Float[np.ndarray, "count unit"]:
    """Random directions with the covariance of the activations.

    Isotropic directions, or those with shuffled components, mostly lie outside the few dimensions
    that activations use, where nothing reads them: they are too weak a baseline.

    Args:
        activations: Activations of any samples of the site.
        norm: Length of the directions, in the units of the activations.
        rng: Draws the directions.
        count: How many directions.

    Returns:
        The directions: Gaussian, with the samples' covariance, scaled to the length.

    Raises:
        EvidenceError: There are fewer than two samples, or they are all alike.

    >>> activations = np.random.default_rng(0).normal(size=(500, 2)) * [3.0, 0.0] + 7
    >>> np.abs(random_directions(activations, 2.0, np.random.default_rng(1), count=3)).tolist()
    [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]
    """
    if len(activations) < 2:
        raise EvidenceError("One sample has no covariance: at least two are needed.")
    # In float64: a float32 mean of many samples loses the digits that the centering is about.
    centered = activations - activations.mean(0, dtype=np.float64)
    # A Gaussian combination of the samples has their covariance, which is never computed itself.
    directions = rng.normal(size=(count, len(centered))) @ centered
    return _scaled(directions, norm, np.abs(activations).max())


def baseline_p(effect: float, baselines: Float[np.ndarray, " count"]) -> float:
    """One-sided p of an effect against effects of baselines.

    Args:
        effect: The effect.
        baselines: Effects of edits without the concept, of the same length.

    Returns:
        (1 + baselines at least as high) / (1 + baselines); NaN where any is NaN.

    Source: Phipson & Smyth 2010.

    >>> baseline_p(1.0, np.zeros(99))
    0.01
    """
    # A comparison with NaN is False: the effect would pass as larger than that baseline.
    if np.isnan(effect) or np.isnan(baselines).any():
        return float("nan")
    # The effect counts as one of its own baselines, so that p is never 0 and stays valid for any
    # number of them (Phipson & Smyth 2010).
    return float((1 + (baselines >= effect).sum()) / (1 + len(baselines)))


def random_search_p(
    best: float, pool: Float[np.ndarray, " prompt"], budget: int, *, complete: bool = False
) -> float:
    """Chance that a random search of the same budget does as well as a search did.

    Args:
        best: The score that the search found, on fresh seeds.
        pool: Scores of independent random prompts; forty times the budget or more.
        budget: Prompts that the search has scored.
        complete: Whether the pool is the whole space of prompts, each once, so that the chance is
            known instead of estimated.

    Returns:
        The p-value; NaN where a score is NaN.

    Raises:
        EvidenceError: There are no prompts, or the budget is not positive.

    Source: the best of `budget` new prompts is at least `best` unless the new ones all rank below
    the k of the pool that are: 1 − ∏ (N − i) / (N + B − i) for i from 0 to k. Of a complete pool,
    B different prompts have none of the k: 1 − ∏ (N − B − i) / (N − i) for i from 0 to k − 1.

    >>> round(random_search_p(9.5, np.arange(10.0), 1), 3)
    0.091
    >>> round(random_search_p(9.0, np.arange(10.0), 1, complete=True), 3)
    0.1
    """
    if budget < 1 or not len(pool):
        raise EvidenceError(f"{len(pool)} random prompts, budget {budget}: both must be positive.")
    # As above: NaN would count as a pool score that the search beat.
    if np.isnan(best) or np.isnan(pool).any():
        return float("nan")
    higher, count = int((pool >= best).sum()), len(pool)
    if complete:
        # Where rounding puts the best prompt above its own score in the pool, it still is one.
        return float(stats.hypergeom.sf(0, count, min(max(higher, 1), count), min(budget, count)))
    # The formula's binomials need at least one lower score; with none any search does as well.
    if higher >= count:
        return 1.0
    # The product is a ratio of binomials, computed in logarithms.
    log_product = (
        special.gammaln(count + 1)
        - special.gammaln(count - higher)
        + special.gammaln(count + budget - higher)
        - special.gammaln(count + budget + 1)
    )
    # Not `1 - exp`, which is 0 for the smallest p.
    return float(-np.expm1(log_product))


def _scaled(
    directions: Float[np.ndarray, "count unit"], norm: float, largest: float
) -> Float[np.ndarray, "count unit"]:
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    # Equal rows cancel up to rounding in float64: what is left has no meaning.
    if (lengths <= 1e-12 * largest).any():
        raise EvidenceError("All samples are alike: no direction is left.")
    return np.asarray(directions / lengths * norm)
