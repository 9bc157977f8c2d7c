"""Directions at a site: made from pairs, read by projection, and shuffled as a control."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from clerestory.errors import EvidenceError

__all__ = ["difference", "project", "shuffled"]


def difference(
    shown: Float[np.ndarray, "n unit"], absent: Float[np.ndarray, "m unit"]
) -> Float[np.ndarray, " unit"]:
    """Difference of the two sides' means, in the activations' own measure.

    >>> difference(np.array([[1.0, 4.0], [3.0, 4.0]]), np.array([[1.0, 1.0]]))
    array([1., 3.])
    """
    if not len(shown) or not len(absent):
        raise EvidenceError(f"A side is empty: {len(shown)} shown, {len(absent)} absent.")
    return np.asarray(shown.mean(0, dtype=np.float64) - absent.mean(0, dtype=np.float64))


def project(
    values: Float[np.ndarray, "n unit"], direction: Float[np.ndarray, " unit"]
) -> Float[np.ndarray, " n"]:
    """How far each row reaches along the direction, in the activations' own measure.

    A direction of zero length reads 0 everywhere.

    >>> project(np.array([[3.0, 4.0]]), np.array([0.0, 2.0]))
    array([4.])
    """
    length = np.linalg.norm(direction)
    return np.asarray(values @ (direction / (length if length > 0 else 1.0)), dtype=np.float64)


def shuffled(
    differences: Float[np.ndarray, "pair unit"],
    norm: float,
    rng: np.random.Generator,
    count: int = 20,
) -> Float[np.ndarray, "count unit"]:
    """Directions of length `norm` from pairs of which a random half has its sides swapped.

    What the two sides of all pairs differ in cancels *exactly*, so what remains is how contents
    differ: a direction as typical of the site as the true one, without the concept. (With coin
    flips instead of halves a little of the concept would stay, and scaling to `norm` would blow it
    up.) Of an odd number of pairs each direction leaves one out.

    >>> pairs = np.array([[5.0, 1.0], [5.0, -1.0]])
    >>> np.abs(shuffled(pairs, 2.0, np.random.default_rng(0), count=3)).tolist()
    [[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]
    """
    half = len(differences) // 2
    if not half:
        raise EvidenceError(f"{len(differences)} pairs cannot be shuffled: at least 2 are needed.")
    rows = np.stack([rng.permutation(len(differences))[: 2 * half] for _ in range(count)])
    made = differences[rows[:, :half]].mean(1) - differences[rows[:, half:]].mean(1)
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    if (lengths <= 1e-12 * np.abs(differences).max(initial=0.0)).any():
        raise EvidenceError("All pairs differ alike: no direction is left once they are shuffled.")
    return np.asarray(made / lengths * norm)
