"""Samples and activations with a concept planted in them, or not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.contrasts import ContrastSamples

CONCEPT = np.array([0.0, 3.0, 0.0, -4.0, 0.0, 0.0, 0.0, 0.0])
"""Planted at `prior/embedding`: its strongest neuron is 3, and that one goes down."""


def samples(items: int = 30, phrases: int = 6, frames: int = 1, seeds: int = 2) -> ContrastSamples:
    """Both halves: so many items in so many phrases of each arm, in frames that arms share."""
    rows = [
        {
            "prompt": f"{arm} {half} {phrase} {frame} {item}",
            "item": f"{half} thing {item:02}",
            "phrase": f"{arm} {half} {phrase}",
            # One frame is one for both halves: there is nothing that varies.
            "template": f"{half} {frame}" if frames > 1 else "",
            "arm": arm,
            "half": half,
            "seed": seed,
        }
        for half in ("selection", "evaluation")
        for arm in ("positive", "negative", "hard_negative")
        for item in range(items)
        for phrase in range(phrases)
        for frame in range(frames)
        for seed in range(seeds)
    ]
    return ContrastSamples(pd.DataFrame(rows), from_pictures=False)


def activations(
    table: pd.DataFrame,
    strength: float = 1.0,
    seed: int = 0,
    sites: int = 3,
    phrases: float = 0.0,
) -> dict[str, NDArray[np.float64]]:
    """Noise of each item, phrase and sample, and the concept at one site.

    `phrases` is the variance of the phrases; that of items and of samples is 1.
    """
    rng = np.random.default_rng(seed)
    items, codes = pd.factorize(table["item"])[0], pd.factorize(table["phrase"])[0]
    values = {}
    for site in ["prior/embedding", *(f"text.blocks.{at}/mlp" for at in range(sites - 1))]:
        by_item = rng.normal(size=(items.max() + 1, CONCEPT.size))
        by_phrase = rng.normal(size=(codes.max() + 1, CONCEPT.size)) * phrases**0.5
        values[site] = by_item[items] + by_phrase[codes]
        values[site] += rng.normal(size=(len(table), CONCEPT.size))
    positive = (table["arm"] == "positive").to_numpy()
    values["prior/embedding"][positive] += strength * CONCEPT
    values["text.blocks.0/mlp"][~(table["arm"] == "negative").to_numpy(), 5] += 5 * bool(strength)
    return values
