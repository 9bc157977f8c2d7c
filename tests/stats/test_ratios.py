"""Ratios of means: coverage, and denominators that may be 0."""

from __future__ import annotations

import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.stats.ratios import ratio_interval


@pytest.mark.parametrize("count", [4, 12])
def test_intervals_cover_the_ratio(count):
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1500):
        bottom = rng.normal(10, 3, count)
        top = 0.7 * bottom + rng.normal(1, 2, count)
        low, high = ratio_interval(top, bottom)
        covered += low <= 0.8 <= high
    assert covered / 1500 == pytest.approx(0.95, abs=0.015)


def test_a_denominator_that_may_be_0_bounds_nothing():
    low, high = ratio_interval(np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 0.5]))
    assert (low, high) == (-np.inf, np.inf)


def test_the_same_ratio_everywhere_has_no_width():
    bottom = np.array([3.0, 4.0, 3.5])
    assert ratio_interval(0.5 * bottom, bottom) == pytest.approx((0.5, 0.5))
    assert np.isnan(ratio_interval(np.array([1.0, np.nan]), np.array([1.0, 2.0]))).all()
    with pytest.raises(EvidenceError, match="two pairs"):
        ratio_interval(np.ones(1), np.ones(1))
