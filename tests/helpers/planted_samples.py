"""Samples and activations with a concept planted in them, or not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CONCEPT = np.array([0.0, 3.0, 0.0, -4.0, 0.0, 0.0, 0.0, 0.0])
"""Planted at `prior/embedding`: its strongest neuron is 3, and that one goes down."""


def samples(items: int = 30, templates: int = 3) -> pd.DataFrame:
    """Both halves: so many items and templates an arm each, two seeds."""
    rows = [
        {
            "prompt": f"{arm} {half} {template} {item}",
            "item": f"{half} thing {item:02}",
            "template": f"{arm} {half} {template}",
            "arm": arm,
            "half": half,
            "seed": seed,
        }
        for half in ("selection", "evaluation")
        for arm in ("positive", "negative", "hard_negative")
        for item in range(items)
        for template in range(templates)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def activations(
    table: pd.DataFrame, strength: float = 1.0, seed: int = 0, sites: int = 3
) -> dict[str, NDArray[np.float64]]:
    """Noise that depends on the item and the sample, and the concept at one site."""
    rng = np.random.default_rng(seed)
    items = pd.factorize(table["item"])[0]
    found = {}
    for site in ["prior/embedding", *(f"text.blocks.{at}/mlp" for at in range(sites - 1))]:
        own = rng.normal(size=(items.max() + 1, CONCEPT.size))
        found[site] = own[items] + rng.normal(size=(len(table), CONCEPT.size))
    positive = (table["arm"] == "positive").to_numpy()
    found["prior/embedding"][positive] += strength * CONCEPT
    hard_negative = (table["arm"] == "hard_negative").to_numpy()
    found["text.blocks.0/mlp"][~(table["arm"] == "negative").to_numpy(), 5] += 5 * bool(strength)
    assert hard_negative.any()
    return found
