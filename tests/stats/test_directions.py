from __future__ import annotations

import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.stats import difference, frechet, project, shuffled


def test_shuffled_directions_have_the_norm_and_nothing_of_the_concept() -> None:
    rng = np.random.default_rng(8)
    concept = np.zeros(16)
    concept[3] = 50.0
    pairs = rng.normal(size=(31, 16)) * (np.arange(16) != 3) + concept
    made = shuffled(pairs, 7.0, rng, count=25)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 7.0)
    assert np.abs(made[:, 3]).max() < 1e-9
    assert np.linalg.matrix_rank(made) == 15


@pytest.mark.parametrize("pairs", [np.ones((1, 4)), np.ones((8, 4))])
def test_pairs_that_cannot_be_shuffled_are_refused(pairs: np.ndarray) -> None:
    with pytest.raises(EvidenceError):
        shuffled(pairs, 1.0, np.random.default_rng(0))


def test_a_difference_with_an_empty_side_is_refused() -> None:
    with pytest.raises(EvidenceError, match="empty"):
        difference(np.ones((0, 3)), np.ones((2, 3)))


def test_projection_on_nothing_is_zero() -> None:
    assert project(np.ones((2, 3)), np.zeros(3)).tolist() == [0.0, 0.0]


def test_frechet_distance_of_normals_that_commute_is_known() -> None:
    rng = np.random.default_rng(9)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    one, two = rng.random(5) + 0.1, rng.random(5) + 0.1
    means = rng.normal(size=(2, 5))
    expected = ((means[0] - means[1]) ** 2).sum() + ((np.sqrt(one) - np.sqrt(two)) ** 2).sum()
    found = frechet((means[0], axes * one @ axes.T), (means[1], axes * two @ axes.T))
    assert found == pytest.approx(expected, abs=1e-9)


def test_frechet_distance_to_itself_is_zero_also_without_full_rank() -> None:
    rows = np.random.default_rng(10).normal(size=(5, 12))
    cloud = (rows.mean(0), np.cov(rows.T))
    assert frechet(cloud, cloud) == pytest.approx(0.0, abs=1e-6)
