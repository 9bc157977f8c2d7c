from __future__ import annotations

import numpy as np
from scipy import stats

from clerestory.stats import benjamini_hochberg


def test_q_is_scipys_and_of_nothing_nothing() -> None:
    p = np.random.default_rng(3).random(50)
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-9)
    assert benjamini_hochberg(np.empty(0)).size == 0
