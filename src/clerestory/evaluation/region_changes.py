"""Side effects inside and outside of the region of an edit, in the pictures.

    masks = region_masks(model, "left half", unedited)
    change = region_change(edited, unedited, masks)
    change.inside.mean, change.outside.mean

An edit of a part of a site reaches the rest of the picture too, through attention and convolutions.
How far is measured in the pictures: the root mean square change of their values inside of the
region's mask and outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clerestory.errors import EvidenceError
from clerestory.evaluation.engine import Drawing
from clerestory.models import Model
from clerestory.models.core.regions import as_region, named_region, region_word
from clerestory.models.core.requests import list_samples
from clerestory.models.word_masks import word_masks
from clerestory.reporting.intervals import format_interval
from clerestory.stats.clustered_intervals import mean_interval
from clerestory.stats.maps import resample
from clerestory.types import Floats

__all__ = ["MeanChange", "RegionChange", "region_change", "region_masks", "region_text"]


@dataclass(frozen=True)
class MeanChange:
    """A change of pictures, averaged over items, with a 95% interval over items.

    Attributes:
        mean: The mean, of the range of pixel values.
        low: Lower limit of the interval.
        high: Upper limit of the interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return format_interval(self.mean, self.low, self.high, ".3f")


@dataclass(frozen=True)
class RegionChange:
    """How much pictures change inside and outside of a region.

    Attributes:
        inside: Root mean square change inside, 0 to 1; None where the region is empty.
        outside: The same outside; None where the region is all of the picture.
        difference: Inside less outside, on the same pictures; None where one of them is.
        share: Mean share of the picture that is inside.
        items: Number of items.
    """

    inside: MeanChange | None
    outside: MeanChange | None
    difference: MeanChange | None
    share: float
    items: int

    def __str__(self) -> str:
        inside, outside = (each or "nothing" for each in (self.inside, self.outside))
        return (
            f"Pictures change by {inside} inside of the region ({self.share:.0%} of the picture) "
            f"and by {outside} outside (root mean square, of 1)"
        )


def region_masks(model: Model, region: Any, drawing: Drawing) -> Floats:
    """The mask of a region in each picture of a drawing.

    Args:
        model: The model.
        region: A mask, a name or a word, as for edits. The map of a word is measured, which draws
            every sample once more.
        drawing: The drawing without the edit.

    Returns:
        float32 `[1 or cell, y, x]`, shares of each position that are inside.

    Raises:
        EvidenceError: There is no region.
        EditError: It is not valid.
    """
    checked = as_region(region)
    if checked is None:
        raise EvidenceError("There is no region: give a mask, a name or a word.")
    word = region_word(checked)
    if word is not None:
        options = model.options(**drawing.condition.options)
        prompts, seeds = drawing.condition.prompts(drawing.design), drawing.design.cell_seeds
        return word_masks(model, list_samples(model, prompts, seeds, options, paired=True), word)
    if isinstance(checked, str):
        height, width = drawing.pictures.shape[1:3]
        return named_region(checked, (height, width))[None]
    return checked[None]


def region_change(after: Drawing, before: Drawing, masks: Floats) -> RegionChange:
    """Measure how much pictures change inside and outside of a region.

    Args:
        after: The drawing with the edit.
        before: The drawing without it, of the same items, templates and seeds.
        masks: `[1 or cell, y, x]` of any size: shares of each position that are inside.

    Returns:
        Means over items, with intervals by Student's t over items; these have no width where all
        items change equally.

    Raises:
        EvidenceError: There are fewer than two items, or the masks do not fit.
    """
    cells, height, width = before.pictures.shape[:3]
    if masks.ndim != 3 or len(masks) not in (1, cells) or after.pictures.shape[0] != cells:
        raise EvidenceError(
            f"The masks are {list(masks.shape)} for {cells} pictures: give [1, y, x] or one for "
            "each picture."
        )
    weights = np.stack([resample(mask, (height, width)) for mask in masks]).astype(np.float64)
    # Signed, since the difference of two uint8 would wrap around.
    squares = (((after.pictures.astype(np.float32) - before.pictures) / 255) ** 2).mean(-1)
    inside, outside = (_by_item(squares, side, before) for side in (weights, 1 - weights))
    both = None if inside is None or outside is None else inside - outside
    return RegionChange(
        inside=_mean_change(inside),
        outside=_mean_change(outside),
        difference=_mean_change(both),
        share=float(weights.mean()),
        items=len(before.design.items),
    )


def region_text(region: Any) -> str | None:
    """A region in a few words, for options that are saved.

    Args:
        region: A mask, a name, a word, or None.

    Returns:
        The text; of a mask its size and how much of the picture it is; None without a region.
    """
    checked = as_region(region)
    if checked is None or isinstance(checked, str):
        return checked
    return f"a mask of {checked.shape[0]}×{checked.shape[1]}, {checked.mean():.4f} of the picture"


def _by_item(squares: Floats, weights: Floats, drawing: Drawing) -> Floats | None:
    """Root mean squares by item; None where nothing of a picture is on this side."""
    area = weights.sum((1, 2))
    if not area.all():
        return None
    rms = np.sqrt((weights * squares).sum((1, 2)) / area)
    return drawing.design.item_means(rms)


def _mean_change(by_item: Floats | None) -> MeanChange | None:
    if by_item is None:
        return None
    low, high = mean_interval(by_item)
    return MeanChange(float(by_item.mean()), float(low), float(high))
