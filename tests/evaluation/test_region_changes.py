"""Changes inside and outside of a region, of pictures whose differences are known."""

from __future__ import annotations

import numpy as np
import pytest
from families import family_model

from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Drawing, region_change, region_masks
from clerestory.evaluation.region_changes import region_text
from clerestory.models.core.regions import named_region
from clerestory.models.core.requests import list_samples
from clerestory.models.word_masks import word_masks

DESIGN = Design(("a cat", "a dog", "cat dog"), ((0, 1),) * 3)


def drawing(pictures):
    return Drawing(Condition("x"), DESIGN, pictures)


def pair(inside, outside):
    """Pictures whose left half changes by `inside` of each item and seed, the rest by `outside`."""
    before = np.full((6, 4, 8, 3), 100, np.uint8)
    after = before.astype(int)
    after[:, :, :4] += np.reshape(inside, (6, 1, 1, 1))
    after[:, :, 4:] -= np.reshape(outside, (6, 1, 1, 1))
    return drawing(after.astype(np.uint8)), drawing(before)


def test_the_root_mean_square_is_taken_on_each_side_and_averaged_over_items():
    after, before = pair([51, 51, 0, 102, 25, 76], [5, 5, 5, 5, 5, 5])
    change = region_change(after, before, named_region("left half", (4, 8))[None])
    expected = np.mean([51, 51, 0, 102, 25, 76]) / 255
    assert change.inside.mean == pytest.approx(expected, abs=1e-6)
    assert change.outside.mean == pytest.approx(5 / 255, abs=1e-6)
    assert change.difference.mean == pytest.approx(expected - 5 / 255, abs=1e-6)
    assert (change.share, change.items) == (0.5, 3)
    assert change.inside.low < change.inside.mean < change.inside.high
    assert "inside of the region (50% of the picture)" in str(change)


def test_the_interval_is_over_items_not_over_seeds():
    noisy, before = pair([0, 100, 0, 100, 0, 100], [0] * 6)
    change = region_change(noisy, before, named_region("left half", (4, 8))[None])
    # The seeds of an item differ and the items do not.
    assert change.inside.low == pytest.approx(change.inside.high)
    apart, before = pair([0, 0, 50, 50, 100, 100], [0] * 6)
    wide = region_change(apart, before, named_region("left half", (4, 8))[None]).inside
    t = 4.303  # of two degrees of freedom
    assert wide.high - wide.mean == pytest.approx(t * 50 / 255 / np.sqrt(3), rel=1e-3)


def test_each_picture_may_have_a_mask_and_a_share_counts_as_one():
    after, before = pair([51] * 6, [0] * 6)
    left, right = named_region("left half", (2, 2)), named_region("right half", (2, 2))
    change = region_change(after, before, np.stack([left, right] * 3))
    # Inside .2 or 0 in turn, and the other way round outside.
    assert change.inside.mean == pytest.approx(0.1) == change.outside.mean
    half = region_change(after, before, np.full((1, 1, 1), 0.5))
    assert half.inside.mean == pytest.approx(np.sqrt(0.2**2 / 2)) == half.outside.mean


def test_a_side_without_pixels_has_no_change():
    after, before = pair([51] * 6, [0] * 6)
    full = region_change(after, before, np.ones((1, 2, 2)))
    assert full.outside is None and full.difference is None and full.share == 1
    assert region_change(after, before, np.zeros((1, 2, 2))).inside is None
    with pytest.raises(EvidenceError, match="one for each picture"):
        region_change(after, before, np.ones((2, 2, 2)))


def test_the_masks_of_words_are_those_of_each_picture():
    model = family_model("stable_diffusion")
    design = Design(("a cat", "cat dog"), ((0,), (3,)))
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    before = Drawing(Condition("x"), design, pictures)
    masks = region_masks(model, "cat", before)
    options = model.options()
    alone = [
        word_masks(model, list_samples(model, prompt, seed, options), "cat")[0]
        for prompt, seed in (("a cat", 0), ("cat dog", 3))
    ]
    assert np.array_equal(masks, np.stack(alone))
    assert np.array_equal(
        region_masks(model, "centre", before)[0], named_region("centre", (16, 16))
    )
    assert region_masks(model, np.eye(3), before).shape == (1, 3, 3)
    with pytest.raises(EvidenceError, match="no region"):
        region_masks(model, None, before)


def test_a_region_is_named_in_options_that_are_saved():
    assert region_text(" left half ") == "left half" and region_text(None) is None
    assert region_text(np.eye(4)) == "a mask of 4×4, 0.2500 of the picture"
