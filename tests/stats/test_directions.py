from __future__ import annotations

import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.stats import logistic_direction, shuffled_directions


def test_shuffled_directions_have_the_norm_and_nothing_of_the_concept() -> None:
    rng = np.random.default_rng(8)
    concept = np.zeros(16)
    concept[3] = 50.0
    pairs = rng.normal(size=(31, 16)) * (np.arange(16) != 3) + concept
    made = shuffled_directions(pairs, 7.0, rng, count=25)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 7.0)
    assert np.abs(made[:, 3]).max() < 1e-9
    assert np.linalg.matrix_rank(made) == 15


@pytest.mark.parametrize("pairs", [np.ones((1, 4)), np.ones((8, 4))])
def test_pairs_that_cannot_be_shuffled_are_refused(pairs: np.ndarray) -> None:
    with pytest.raises(EvidenceError):
        shuffled_directions(pairs, 1.0, np.random.default_rng(0))


def test_a_direction_of_an_empty_arm_is_refused() -> None:
    with pytest.raises(EvidenceError, match="empty"):
        logistic_direction(np.ones((0, 3)), np.ones((2, 3)))
