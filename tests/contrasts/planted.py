"""Samples and activations with a concept planted in them, or not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CONCEPT = np.array([0.0, 3.0, 0.0, -4.0, 0.0, 0.0, 0.0, 0.0])
"""Planted at `prior/embedding`: its strongest neuron is 3, and that one goes down."""


def samples(contents: int = 30, phrasings: int = 3) -> pd.DataFrame:
    """Both halves: so many contents and phrasings an arm each, two seeds."""
    rows = [
        {
            "prompt": f"{arm} {half} {phrase} {content}",
            "content": f"{half} thing {content:02}",
            "phrase": f"{arm} {half} {phrase}",
            "arm": arm,
            "half": half,
            "seed": seed,
        }
        for half in ("discovery", "report")
        for arm in ("shown", "absent", "decoy")
        for content in range(contents)
        for phrase in range(phrasings)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def activations(
    table: pd.DataFrame, strength: float = 1.0, seed: int = 0, sites: int = 3
) -> dict[str, NDArray[np.float64]]:
    """Noise that depends on the content and the sample, and the concept at one site."""
    rng = np.random.default_rng(seed)
    contents = pd.factorize(table["content"])[0]
    found = {}
    for site in ["prior/embedding", *(f"text.blocks.{at}/mlp" for at in range(sites - 1))]:
        own = rng.normal(size=(contents.max() + 1, CONCEPT.size))
        found[site] = own[contents] + rng.normal(size=(len(table), CONCEPT.size))
    shown = (table["arm"] == "shown").to_numpy()
    found["prior/embedding"][shown] += strength * CONCEPT
    decoy = (table["arm"] == "decoy").to_numpy()
    found["text.blocks.0/mlp"][~(table["arm"] == "absent").to_numpy(), 5] += 5 * bool(strength)
    assert decoy.any()
    return found
