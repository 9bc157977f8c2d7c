"""Shifts along directions whose length and distance are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clerestory.causal.baselines import SelectionReadings
from clerestory.causal.shifts import shift_along
from clerestory.errors import EvidenceError

SITE = "prior/embedding"


def readings():
    """Two templates an arm; in unit 1 the positive arm is at 5 and 7, the negative at 1 and 1."""
    values = np.zeros((6, 3))
    # The first template of the positive arm has two samples, and counts once.
    values[:, 1] = [5, 5, 7, 1, 1, 1]
    arms = ["positive"] * 3 + ["negative"] * 3
    table = pd.DataFrame({"arm": arms, "wording": ["a", "a", "b", "c", "c", "d"]})
    return SelectionReadings(table, {SITE: values})


@pytest.mark.parametrize("length", [1.0, -4.0])
def test_a_unit_is_moved_as_far_as_the_concept_moves_it_whatever_the_length(length):
    shift = shift_along(readings(), SITE, length * np.eye(3)[1])
    assert shift.distance == np.sign(length) * 5.0
    np.testing.assert_allclose(shift.addition().vector, [0, 5, 0])


def test_an_ablation_sets_the_level_of_the_negative_arm():
    ablation = shift_along(readings(), SITE, np.array([0.0, 2.0, 0.0])).ablation()
    assert ablation.level == 1.0 and ablation.vector.tolist() == [0, 1, 0]


def test_a_direction_that_does_not_fit_is_refused_by_name():
    with pytest.raises(EvidenceError, match=r"SITE\[probe\] is zero"):
        shift_along(readings(), SITE, np.zeros(3), "SITE[probe]")
    with pytest.raises(EvidenceError, match="among 2 of the site's 3 units"):
        shift_along(readings(), SITE, np.ones(2))
