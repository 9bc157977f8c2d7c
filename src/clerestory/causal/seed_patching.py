"""Seed patching: does the conditioning decide a property of the picture, or the noise?

Two samples are drawn, and then two pictures with the conditioning of one (the image embedding, the
text states) and the noise of the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clerestory.causal.results import SwapShares
from clerestory.causal.trials import Trials
from clerestory.classifiers import Classifier
from clerestory.classifiers.base import classify
from clerestory.edits import Patch
from clerestory.evaluation import Condition, Design
from clerestory.stats.rate_intervals import rate_interval
from clerestory.types import Bools, Pictures

__all__ = ["swap_noise"]

LAYOUT = "layout"
GRID = 8
"""Side of the grid of grey values that layouts are compared by."""


def swap_noise(trials: Trials, items: int) -> list[SwapShares]:
    """Swap the noise of each item's positive prompt and the next item's negative prompt.

    Args:
        trials: The pairs and classifiers.
        items: How many items.

    Returns:
        Shares of the concept, of each other classifier whose classes ever differ, and of the
        layout; empty for a model without a conditioning site.
    """
    if trials.model.conditioning_site not in trials.model.sites:
        return []
    positive, negative = (trials.design(arm, items) for arm in ("positive", "negative"))
    # The prompt of the next item, so that the two samples differ in more than the concept; and
    # other seeds, since items may share theirs.
    order = [*range(1, len(negative.items)), 0]
    seeds = [values[0] for values in positive.seeds]
    first_design = Design.paired(positive.items, seeds)
    other_seeds = [seeds[item] + 1 for item in order]
    other_design = Design.paired([negative.items[item] for item in order], other_seeds)
    # Both ways, so that each arm gives the conditioning once and the noise once.
    first = _cross(trials, first_design, other_design)
    trials.report("swapping noise", 1, 2)
    second = _cross(trials, other_design, first_design)
    trials.report("swapping noise", 2, 2)
    conditioning, noise, swap = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    classifiers: Mapping[str, Classifier] = {"concept": trials.target.classifier, **trials.others}
    shares = [
        _class_shares(name, classifier, conditioning, noise, swap)
        for name, classifier in classifiers.items()
    ]
    return [
        *(share for share in shares if share.pictures),
        _layout_shares(conditioning, noise, swap),
    ]


def _cross(
    trials: Trials, source: Design, noise_source: Design
) -> tuple[Pictures, Pictures, Pictures]:
    """Pictures of the conditioning samples, of the noise samples, and of the swap of both."""
    model, evaluator = trials.model, trials.evaluator
    sites = [site for site in model.conditioning_sites if site in model.sites]
    # Without pictures, so that the run stops before the denoiser.
    (read,) = model.sweep(
        source.items,
        source.cell_seeds,
        [()],
        paired=True,
        read=sites,
        pool="none",
        pictures=False,
    )
    plain = Condition("plain")
    (conditioning,) = evaluator.draw([plain], source, description=None)
    (noise,) = evaluator.draw([plain], noise_source, description=None)
    edits = []
    for site in sites:
        values = read.site_values[site].by_step()
        edits += [Patch(f"{site}@{step}", array) for step, array in values.items()]
    condition = Condition("mixed", edits=tuple(edits))
    # Not cached, since patches are large and no other call has the same ones.
    (swap,) = evaluator.draw([condition], noise_source, cached=False, description=None)
    return conditioning.pictures, noise.pictures, swap.pictures


def _class_shares(
    name: str, classifier: Classifier, conditioning: Pictures, noise: Pictures, swap: Pictures
) -> SwapShares:
    conditioning_class, noise_class, swap_class = (
        classify(classifier, pictures).argmax(1) for pictures in (conditioning, noise, swap)
    )
    # If both samples have the same class, the swapped picture cannot show which one decides.
    different = conditioning_class != noise_class
    return _shares(name, swap_class == conditioning_class, swap_class == noise_class, different)


def _layout_shares(conditioning: Pictures, noise: Pictures, swap: Pictures) -> SwapShares:
    conditioning_grid, noise_grid, swap_grid = (
        _grey_grid(pictures) for pictures in (conditioning, noise, swap)
    )
    to_conditioning = ((swap_grid - conditioning_grid) ** 2).sum(1)
    to_noise = ((swap_grid - noise_grid) ** 2).sum(1)
    # Two alternatives: a picture is closer to one of them, so every picture counts.
    closer = to_conditioning < to_noise
    return _shares(LAYOUT, closer, ~closer, np.ones(len(swap), bool))


def _shares(name: str, conditioning: Bools, noise: Bools, used: Bools) -> SwapShares:
    """Shares among the used pictures, with an interval over pairs of samples."""
    count = int(used.sum())
    if not count:
        return SwapShares(name, 0.0, 0.0, 1.0, 0.0, 0)
    # The two pictures of a pair come from the same two samples: their mean counts once.
    pictures = used.reshape(2, -1).sum(0)
    pairs = [
        (hits & used).reshape(2, -1).sum(0)[pictures > 0] / pictures[pictures > 0]
        for hits in (conditioning, noise)
    ]
    # One pair says nothing of others.
    low, high = rate_interval(pairs[0]) if len(pairs[0]) > 1 else (0.0, 1.0)
    return SwapShares(name, float(pairs[0].mean()), low, high, float(pairs[1].mean()), count)


def _grey_grid(pictures: Pictures) -> NDArray[np.float64]:
    """Mean grey values of a coarse grid, `[picture, 64]`, minus the mean of each picture."""
    count, height, width, _ = pictures.shape
    # Cropped to a multiple of the grid, so that all cells have the same size.
    rows, columns = height // GRID * GRID, width // GRID * GRID
    grey = pictures[:, :rows, :columns].mean(3)
    cells = grey.reshape(count, GRID, rows // GRID, GRID, columns // GRID).mean((2, 4))
    flat = cells.reshape(count, -1)
    # Less the mean, so that layouts are compared and not brightness.
    return np.asarray(flat - flat.mean(1, keepdims=True))
