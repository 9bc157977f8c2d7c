from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.stats import clopper_pearson, wilson


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
