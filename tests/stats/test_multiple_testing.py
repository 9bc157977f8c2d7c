from __future__ import annotations

import numpy as np
from scipy import stats

from clerestory.stats import benjamini_hochberg, count_flips_with_findings, signed_rank


def test_q_is_scipys_and_of_nothing_nothing() -> None:
    p = np.random.default_rng(3).random(50)
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-9)
    assert benjamini_hochberg(np.empty(0)).size == 0


def test_a_true_effect_does_not_raise_the_null() -> None:
    rng = np.random.default_rng(4)
    differences = rng.normal(size=(30, 200))
    differences[:, :100] += 2
    assert (benjamini_hochberg(signed_rank(differences)) <= 0.05).sum() >= 100
    assert count_flips_with_findings(differences, rng) <= 25


def test_flips_of_correlated_noise_find_something_as_often_as_they_may() -> None:
    rng = np.random.default_rng(5)
    found = [
        count_flips_with_findings(rng.normal(size=(24, 300)), rng, flips=40) for _ in range(10)
    ]
    assert 0 < np.mean(found) / 40 <= 0.1


def test_too_few_pairs_can_find_nothing() -> None:
    assert count_flips_with_findings(np.ones((4, 10)), np.random.default_rng(0)) == 0
