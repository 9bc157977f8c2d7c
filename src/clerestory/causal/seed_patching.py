"""Seed patching: who decides what, the condition or the noise?

Two samples are drawn, and then each with the other's noise: the image embedding or the text states,
as they were handed to the denoiser, go over from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clerestory.causal.results import Swap
from clerestory.causal.trials import Trials
from clerestory.classifiers import Classifier
from clerestory.edits import Patch
from clerestory.models import Model
from clerestory.stats import wilson

__all__ = ["swapped"]

LAYOUT = "layout"
SMALL = 8
"""The side of the greys that layouts are compared by."""
Pictures = NDArray[np.uint8]


def swapped(trials: Trials, contents: int) -> list[Swap]:
    """Each content's prompt that says the concept, with the next content's that does not."""
    if trials.model.conditioning_site not in trials.model.sites:
        return []
    shown, absent = (trials.prompts(side, contents) for side in ("shown", "absent"))
    absent = [*absent[1:], absent[0]]
    seed, other = trials.seeds[0], trials.seeds[0] + 1
    givers, noises, mixed = _crossed(trials.model, shown, seed, absent, other)
    trials.tell("swapping noise", 1, 2)
    more = _crossed(trials.model, absent, other, shown, seed)
    trials.tell("swapping noise", 2, 2)
    given, noise, both = (
        np.concatenate(pair) for pair in zip((givers, noises, mixed), more, strict=True)
    )
    judges: Mapping[str, Classifier] = {"concept": trials.judge, **trials.others}
    found = [_classes(name, judge, given, noise, both) for name, judge in judges.items()]
    return [*(one for one in found if one.pictures), _layout(given, noise, both)]


def _crossed(
    model: Model, givers: Sequence[str], seed: int, noises: Sequence[str], other: int
) -> tuple[Pictures, Pictures, Pictures]:
    """Pictures of the givers, of those that give the noise, and of the two together."""
    sites = [site for site in model.conditioning_sites if site in model.sites]
    one = model.run(givers, seed, read=sites, pool="none")
    two = model.run(noises, other)
    edits = []
    for site in sites:
        noted = one.activations.unlabelled[site]
        values = noted.values()
        edits += [Patch(f"{site}@{s.index}", values[:, at]) for at, s in enumerate(noted.steps)]
    both = model.run(noises, other, edits=edits)
    assert one.pictures is not None and two.pictures is not None and both.pictures is not None
    return one.pictures, two.pictures, both.pictures


def _classes(
    name: str, judge: Classifier, given: Pictures, noise: Pictures, both: Pictures
) -> Swap:
    first, second, mixed = (judge(pictures).argmax(1) for pictures in (given, noise, both))
    apart = first != second
    count = int(apart.sum())
    share = [float((mixed == one)[apart].mean()) if count else 0.0 for one in (first, second)]
    return _swap(name, share[0], share[1], count)


def _layout(given: Pictures, noise: Pictures, both: Pictures) -> Swap:
    first, second, mixed = (_greys(pictures) for pictures in (given, noise, both))
    near = ((mixed - first) ** 2).sum(1) < ((mixed - second) ** 2).sum(1)
    return _swap(LAYOUT, float(near.mean()), float(1 - near.mean()), len(near))


def _swap(name: str, condition: float, noise: float, count: int) -> Swap:
    """Two pictures have the same parents, so the interval counts half as many."""
    pairs = -(-count // 2)
    span = wilson(condition * pairs, pairs) if pairs else (0.0, 1.0)
    return Swap(name, condition, *span, noise, count)


def _greys(pictures: Pictures) -> NDArray[np.float64]:
    """`[n, 64]`: how light each part is, around each picture's mean."""
    count, height, width, _ = pictures.shape
    rows, columns = height // SMALL * SMALL, width // SMALL * SMALL
    grey = pictures[:, :rows, :columns].mean(3)
    parts = grey.reshape(count, SMALL, rows // SMALL, SMALL, columns // SMALL).mean((2, 4))
    flat = parts.reshape(count, -1)
    return np.asarray(flat - flat.mean(1, keepdims=True))
