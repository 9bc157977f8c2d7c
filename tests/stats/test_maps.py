import math

import numpy as np
import pytest

from clerestory.stats.maps import concentration, mass_inside, peak


def test_a_flat_map_has_no_concentration_and_a_point_has_all():
    assert concentration(np.ones((10, 10))) == pytest.approx(0.1)
    point = np.zeros((10, 10))
    point[2, 7] = 3
    assert concentration(point) == 1
    assert peak(point) == pytest.approx((0.25, 0.75))
    assert math.isnan(concentration(np.zeros((2, 2))))
    assert all(map(math.isnan, peak(np.full((2, 2), np.nan))))


def test_mass_inside_counts_positions_by_their_share_of_the_mask():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    mask = np.zeros((6, 6), bool)
    mask[:3] = True
    assert mass_inside(values, mask) == pytest.approx(3 / 10)
    # A third of the columns: two thirds of the left positions.
    mask = np.zeros((3, 3), bool)
    mask[:, 0] = True
    assert mass_inside(values, mask) == pytest.approx(4 / 10 * 2 / 3)
    assert mass_inside(values, np.ones((5, 7), bool)) == pytest.approx(1)
