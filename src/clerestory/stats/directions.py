"""Directions at a site: fitted to two arms, and shuffled as a baseline."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from clerestory.errors import EvidenceError

__all__ = ["logistic_direction", "mean_difference", "rank_by_separation", "shuffled_directions"]

NEGLIGIBLE = 1e-9
"""Spread, relative to a unit's largest value, below which a unit counts as constant."""


def mean_difference(
    positive: Float[np.ndarray, "n unit"], negative: Float[np.ndarray, "m unit"]
) -> Float[np.ndarray, " unit"]:
    """Difference of the two arms' means.

    Args:
        positive: Activations with the concept.
        negative: Activations without it.

    Returns:
        The direction, in the units of the activations.

    Raises:
        EvidenceError: An arm is empty.

    >>> mean_difference(np.array([[1.0, 4.0], [3.0, 4.0]]), np.array([[1.0, 1.0]]))
    array([1., 3.])
    """
    _check_arms(positive, negative)
    # float64: float16 activations overflow in a sum over many rows
    return np.asarray(positive.mean(0, dtype=np.float64) - negative.mean(0, dtype=np.float64))


def logistic_direction(
    positive: Float[np.ndarray, "n unit"],
    negative: Float[np.ndarray, "m unit"],
    strength: float = 1.0,
) -> Float[np.ndarray, " unit"]:
    """Weights of an L2-regularised logistic regression of the arm on the activations.

    Fitted on standardised units, the two arms with the same total weight.

    Args:
        positive: Activations with the concept.
        negative: Activations without it.
        strength: Strength of the regularisation, 1 / C of scikit-learn.

    Returns:
        The direction, in the units of the activations; 0 for constant units.

    Raises:
        EvidenceError: An arm is empty.

    Source: `sklearn.linear_model.LogisticRegression`.

    >>> positive = np.array([[2.0, 5.0], [3.0, 5.0]])
    >>> direction = logistic_direction(positive, np.array([[0.0, 5.0], [1.0, 5.0]]))
    >>> bool(direction[0] > 0), float(direction[1])
    (True, 0.0)
    """
    from sklearn.linear_model import LogisticRegression  # takes most of a second to import

    _check_arms(positive, negative)
    values = np.concatenate([positive, negative]).astype(np.float64)
    spread = values.std(0)
    # A constant unit cannot be standardised: it takes no part, and its weight stays 0.
    varies = spread > NEGLIGIBLE * np.abs(values).max(0, initial=0.0)
    direction = np.zeros(values.shape[1])
    if not varies.any():
        return direction
    # Standardised, so that the penalty treats units of all scales alike.
    scaled = (values[:, varies] - values[:, varies].mean(0)) / spread[varies]
    arm = np.repeat([1, 0], [len(positive), len(negative)])
    # Balanced: the negatives may outnumber the positives. 1,000 iterations: scikit-learn's default
    # of 100 can end before convergence, which raises a warning.
    regression = LogisticRegression(C=1 / strength, class_weight="balanced", max_iter=1000)
    # Weights of standardised units, divided by the spread, are weights of the activations.
    direction[varies] = regression.fit(scaled, arm).coef_[0] / spread[varies]
    return direction


def rank_by_separation(
    positive: Float[np.ndarray, "n unit"], negative: Float[np.ndarray, "m unit"]
) -> Int[np.ndarray, " unit"]:
    """Rank units by the distance of their two means in pooled standard deviations.

    Args:
        positive: Activations with the concept.
        negative: Activations without it.

    Returns:
        Indices of units, the best separated first; ties in the order of the units.

    Source: the maximum mean difference of Gurnee et al. 2023, standardised.

    >>> positive, negative = np.array([[2.0, 9.0], [3.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 8.0]])
    >>> rank_by_separation(positive, negative)
    array([0, 1])
    """
    spread = np.sqrt((positive.var(0) + negative.var(0)) / 2)
    # Units that are constant in both arms have no spread to divide by.
    floor = np.finfo(np.float64).tiny + NEGLIGIBLE * np.abs(positive).max(0, initial=0.0)
    distance = np.abs(positive.mean(0) - negative.mean(0)) / np.maximum(spread, floor)
    return np.argsort(-distance, kind="stable")


def shuffled_directions(
    differences: Float[np.ndarray, "pair unit"],
    norm: float,
    rng: np.random.Generator,
    count: int = 20,
) -> Float[np.ndarray, "count unit"]:
    """Directions from pairs of which a random half has its arms swapped.

    What the arms of all pairs differ in cancels *exactly*, so what remains is how items differ: a
    direction as typical of the site as the true one, without the concept.

    Args:
        differences: Positive less negative of each pair. Of an odd number of pairs each direction
            leaves one out.
        norm: Length of the directions, in the units of the activations.
        rng: Chooses the pairs to swap.
        count: How many directions.

    Returns:
        The directions.

    Raises:
        EvidenceError: There are fewer than two pairs, or all differ alike, so that no direction is
            left.

    >>> pairs = np.array([[5.0, 1.0], [5.0, -1.0]])
    >>> np.abs(shuffled_directions(pairs, 2.0, np.random.default_rng(0), count=3)).tolist()
    [[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]
    """
    half = len(differences) // 2
    if not half:
        raise EvidenceError(f"{len(differences)} pairs cannot be shuffled: at least 2 are needed.")
    # Exactly half of the pairs: with a fair coin for each, a little of the concept would stay, and
    # scaling to `norm` would amplify it.
    rows = np.stack([rng.permutation(len(differences))[: 2 * half] for _ in range(count)])
    directions = differences[rows[:, :half]].mean(1) - differences[rows[:, half:]].mean(1)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    # Equal differences cancel up to rounding in float64: what is left has no meaning.
    if (lengths <= 1e-12 * np.abs(differences).max(initial=0.0)).any():
        raise EvidenceError("All pairs differ alike: no direction is left once they are shuffled.")
    return np.asarray(directions / lengths * norm)


def _check_arms(
    positive: Float[np.ndarray, "n unit"], negative: Float[np.ndarray, "m unit"]
) -> None:
    if not len(positive) or not len(negative):
        raise EvidenceError(
            f"An arm is empty: {len(positive)} positive and {len(negative)} negative samples."
        )
