import math

import numpy as np
import pytest

from clerestory.stats.maps import (
    concentration,
    intersection_over_union,
    mask_figures,
    mass_inside,
    peak,
    points_inside,
)


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


def test_the_threshold_of_intersection_over_union_is_the_masks_area():
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    values = np.where(mask, 2.0, 1.0)
    assert intersection_over_union(values, mask) == pytest.approx(1)
    # Three of the four largest are inside: 3 / (4 + 4 − 3).
    values[0, 0], values[3, 3] = 0, 5
    assert intersection_over_union(values, mask) == pytest.approx(3 / 5)
    assert intersection_over_union(-values, ~mask) == pytest.approx(11 / 13)
    # A flat map has what positions at random have: a quarter of the four are inside.
    assert intersection_over_union(np.ones((4, 4)), mask) == pytest.approx(1 / 7)
    assert math.isnan(intersection_over_union(values, np.zeros((4, 4), bool)))
    # A mask with finer pixels, of half of one position.
    mask = np.zeros((8, 8), bool)
    mask[0, :2] = True
    point = np.zeros((4, 4))
    point[0, 0] = 1
    assert intersection_over_union(point, mask) == pytest.approx(0.5 / 1)


def test_pointing_asks_for_the_pixel_under_the_largest_value():
    values = np.zeros((2, 2))
    values[1, 0] = 1
    mask = np.zeros((10, 20), bool)
    mask[7, 5] = True
    assert points_inside(values, mask)
    mask[7, 5] = False
    mask[7, 6] = True
    assert not points_inside(values, mask)
    assert not points_inside(np.full((2, 2), np.nan), np.ones((2, 2), bool))
    figures = mask_figures(values, np.ones((3, 3), bool))
    assert figures == pytest.approx({"mass_inside": 1, "iou": 1, "pointing": True})
