from __future__ import annotations

import numpy as np
from scipy import stats

from clerestory.stats import benjamini_hochberg


def test_q_is_scipys_and_of_nothing_nothing() -> None:
    p = np.random.default_rng(3).random(50)
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-9)
    assert benjamini_hochberg(np.empty(0)).size == 0


def test_what_was_not_tested_has_no_q_and_does_not_count() -> None:
    q = benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04])
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
