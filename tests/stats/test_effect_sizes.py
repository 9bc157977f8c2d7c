from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.stats import frechet_distance, omega_squared


def test_omega_squared_follows_from_scipys_f() -> None:
    rng = np.random.default_rng(11)
    groups = np.repeat([0, 1, 2], [9, 14, 20])
    values = rng.normal(size=(43, 6)) + groups[:, None] * np.arange(6) / 3
    f = stats.f_oneway(*(values[groups == group] for group in range(3))).statistic
    np.testing.assert_allclose(omega_squared(values, groups), 2 * (f - 1) / (2 * (f - 1) + 43))


def test_a_constant_unit_has_no_variance_between_groups() -> None:
    values = np.full((6, 1), 0.1) + np.array([[0.0, 1e-17, 0, 0, 1e-17, 0]]).T
    assert omega_squared(values, np.array([0, 0, 0, 1, 1, 1])).tolist() == [0.0]


@pytest.mark.parametrize("groups", [[0, 0, 0], [0, 1, 2]])
def test_one_group_and_groups_of_one_are_refused(groups: list[int]) -> None:
    with pytest.raises(EvidenceError, match="ω² needs two"):
        omega_squared(np.ones((3, 1)), np.array(groups))


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
