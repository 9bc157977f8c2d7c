"""How often the search is right where the truth is known, and finds what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.recordings import factorial, noise, recording_of
from scipy import stats

from clerestory.contrasts import find

SITES = {"text.blocks.0/mlp": (1, 16), "prior.blocks.0/mlp": (2, 16), "prior/embedding": (1, 16)}
OPTIONS: dict[str, Any] = {
    "positive": "style == 'glass'",
    "negative": "style == 'plain'",
    "hard_negative": "style == 'window'",
    "match": "subject",
}
TABLE = factorial(items=48, phrases=12)
ORACLE = 0.90
"""The AUROC of a classifier that knows the planted direction."""
PHRASES = 0.29
"""Share of a sample's variance that is its phrase's; the item has half of the rest."""


def arrays_of(trial: int) -> dict[str, Any]:
    """Noise of items, phrases and samples, of variance 1 in all."""
    rng = np.random.default_rng(trial)
    arrays = noise(TABLE, trial, SITES)
    codes = TABLE["phrase"].astype("category").cat.codes.to_numpy()
    for site, values in arrays.items():
        by_phrase = rng.normal(size=(codes.max() + 1, *values.shape[1:]))
        arrays[site] = values * ((1 - PHRASES) / 2) ** 0.5 + by_phrase[codes] * PHRASES**0.5
    return arrays


@pytest.mark.slow
def test_a_planted_unit_is_found_in_nine_of_ten(tmp_path: Path) -> None:
    first = found = 0
    for trial in range(20):
        rng = np.random.default_rng(1000 + trial)
        arrays = arrays_of(trial)
        positive = (TABLE["style"] == "glass").to_numpy()
        unit = int(rng.integers(16))
        shift = np.sqrt(2) * stats.norm.ppf(ORACLE)
        arrays["prior.blocks.0/mlp"][positive, 1, unit] += shift * rng.choice([-1, 1])
        recording = recording_of(TABLE, arrays, tmp_path / str(trial))
        findings = find(recording, **OPTIONS, top=5, kind="neuron")
        first += findings.top_ranked("neuron").unit == f"prior.blocks.0/mlp[{unit}]@1"
        found += any(f.unit == f"prior.blocks.0/mlp[{unit}]@1" for f in findings.found())
    assert first >= 18
    # At a rate of .90, fewer than 15 of 20 happen in one of 90 runs.
    assert found >= 15


@pytest.mark.slow
def test_where_nothing_is_planted_something_is_found_in_few(tmp_path: Path) -> None:
    anything = 0
    for trial in range(24):
        recording = recording_of(TABLE, arrays_of(5000 + trial), tmp_path / str(trial))
        anything += bool(find(recording, **OPTIONS).found())
    # At a rate of .05, five or more of 24 happen in one of 150 runs.
    assert anything <= 4
