from __future__ import annotations

import numpy as np
import pytest

from clerestory.stats import frechet_distance


def test_frechet_distance_of_normals_that_commute_is_known() -> None:
    rng = np.random.default_rng(9)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    one, two = rng.random(5) + 0.1, rng.random(5) + 0.1
    means = rng.normal(size=(2, 5))
    expected = ((means[0] - means[1]) ** 2).sum() + ((np.sqrt(one) - np.sqrt(two)) ** 2).sum()
    found = frechet_distance((means[0], axes * one @ axes.T), (means[1], axes * two @ axes.T))
    assert found == pytest.approx(expected, abs=1e-9)


def test_frechet_distance_to_itself_is_zero_also_without_full_rank() -> None:
    rows = np.random.default_rng(10).normal(size=(5, 12))
    cloud = (rows.mean(0), np.cov(rows.T))
    assert frechet_distance(cloud, cloud) == pytest.approx(0.0, abs=1e-6)
