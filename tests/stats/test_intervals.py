from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.stats import auroc, bootstrap_auroc, bootstrap_means, clopper_pearson, wilson


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (1, 20), (13, 30), (29, 30), (60, 60)])
def test_intervals_of_rates_are_scipys(hits: int, of: int) -> None:
    test = stats.binomtest(hits, of)
    np.testing.assert_allclose(wilson(hits, of), test.proportion_ci(method="wilson"), atol=1e-9)
    exact = test.proportion_ci(method="exact")
    np.testing.assert_allclose(clopper_pearson(hits, of), exact, atol=1e-9)


def test_a_rate_times_its_count_has_the_interval_of_the_whole_number() -> None:
    for of in range(10, 101):
        for hits in range(of + 1):
            assert clopper_pearson(hits / of * of, of) == clopper_pearson(hits, of)


def test_half_hits_widen_the_exact_interval_on_both_ends() -> None:
    low, high = clopper_pearson(8.5, 10)
    assert low == clopper_pearson(8, 10).low
    assert high == clopper_pearson(9, 10).high


@pytest.mark.parametrize(("hits", "of"), [(-1, 3), (4, 3), (0, 0)])
def test_what_is_no_rate_is_refused(hits: int, of: int) -> None:
    with pytest.raises(EvidenceError, match="are not a valid rate"):
        wilson(hits, of)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    truth = stats.norm.cdf(0.5 / np.sqrt(2))
    covered = 0
    for _ in range(300):
        positive, negative = rng.normal(0.5, 1, 40), rng.normal(size=40)
        low, high = bootstrap_auroc(positive, negative, rng=rng, draws=400)
        covered += low <= truth <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_the_bootstrap_keeps_pairs_together() -> None:
    positive = np.arange(30.0)
    low, high = bootstrap_auroc(positive, positive, rng=np.random.default_rng(7))
    assert low == high == 0.5


def test_replicates_of_a_group_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=(12, 3)), np.arange(12)
    alone = bootstrap_means(values, rng=np.random.default_rng(1))
    thrice = bootstrap_means(
        np.repeat(values, 3, 0), rng=np.random.default_rng(1), groups=np.repeat(groups, 3)
    )
    np.testing.assert_allclose(thrice, alone)
    taken_apart = bootstrap_means(np.repeat(values, 3, 0), rng=np.random.default_rng(1))
    assert np.all(taken_apart[1] - taken_apart[0] < 0.75 * (alone[1] - alone[0]))


def test_the_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(EvidenceError, match="at least one"):
        bootstrap_auroc(np.empty(0), np.empty(0), rng=np.random.default_rng(0))


def test_the_bootstrap_of_auroc_is_that_of_ranking_every_draw() -> None:
    rng = np.random.default_rng(3)
    for positive, negative in (
        (rng.normal(0.5, 1, 30), rng.normal(size=30)),
        (rng.integers(0, 4, 24).astype(float), rng.integers(0, 4, 24).astype(float)),
    ):
        fast = bootstrap_auroc(positive, negative, rng=np.random.default_rng(0))
        count = len(positive)
        picks = np.random.default_rng(0).integers(count, size=(count, 2_000))
        slow = np.quantile(auroc(positive[picks], negative[picks]), [0.025, 0.975])
        np.testing.assert_allclose(fast, slow, atol=1e-12)
