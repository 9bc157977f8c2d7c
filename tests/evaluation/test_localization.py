import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.evaluation import localization_of
from clerestory.stats.maps import mask_figures
from clerestory.stats.rate_intervals import rate_interval


def _figures(rng, follows):
    """Of a map that follows the mask of a square at random, or of noise."""
    mask = np.zeros((8, 8), bool)
    row, column = rng.integers(0, 5, 2)
    mask[row : row + 3, column : column + 3] = True
    return mask_figures(rng.random((8, 8)) + follows * mask, mask)


def test_maps_that_follow_masks_are_told_from_noise():
    rng = np.random.default_rng(0)
    good, noise = (
        localization_of([[_figures(rng, follows) for _ in range(2)] for _ in range(40)])
        for follows in (2, 0)
    )
    assert good["iou"].mean == good["pointing"].mean == 1
    assert good["iou"].low < 1 and good["iou"].items == 40
    # By chance nine positions of 64 share 9 · 9/64 with the mask: 1.27 / (18 − 1.27).
    assert noise["iou"].low < 0.076 < noise["iou"].high < 0.15
    assert noise["pointing"].low < 9 / 64 < noise["pointing"].high
    assert noise["mass_inside"].low < 9 / 64 < noise["mass_inside"].high


def test_intervals_are_over_items_whatever_the_number_of_their_maps():
    values = [0.2, 0.4, 0.9]
    once = localization_of([[dict.fromkeys(("mass_inside", "iou", "pointing"), v)] for v in values])
    often = localization_of(
        [[dict.fromkeys(("mass_inside", "iou", "pointing"), v)] * 9 for v in values]
    )
    assert often == once
    assert (once["pointing"].low, once["pointing"].high) == pytest.approx(
        tuple(rate_interval(np.array(values)[:, None]))
    )
    assert once["iou"].mean == pytest.approx(0.5) and 0 < once["iou"].low < once["iou"].high < 1


def test_missing_items_and_figures_are_refused():
    row = dict.fromkeys(("mass_inside", "iou", "pointing"), 0.5)
    for figures in ([], [[row]], [[row], []], [[row], [{**row, "iou": float("nan")}]]):
        with pytest.raises(EvidenceError):
            localization_of(figures)
