"""How often the search is right where the truth is known, and finds what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.recordings import factorial, noise, recording_of
from scipy import stats

from clerestory.contrasts import find

SITES = {"text.blocks.0/mlp": (1, 16), "prior.blocks.0/mlp": (2, 16), "prior/embedding": (1, 16)}
FEW = {"text.blocks.0/mlp": (1, 8), "prior/embedding": (1, 8)}
OPTIONS: dict[str, Any] = {
    "positive": "style == 'glass'",
    "negative": "style == 'plain'",
    "hard_negative": "style == 'window'",
    "match": "subject",
}
TABLE = factorial(items=60, templates=2)
ORACLE = 0.90
"""The AUROC of a classifier that knows the planted direction, item by item."""


def shift() -> float:
    """The distance of the arms' means, in a unit whose items and samples both have variance 1."""
    return float(np.sqrt(2) * stats.norm.ppf(ORACLE) * np.sqrt(2))


@pytest.mark.slow
def test_the_planted_site_and_unit_come_first_in_45_of_50(tmp_path: Path) -> None:
    right = {"neuron": 0, "direction": 0}
    for trial in range(50):
        rng = np.random.default_rng(1000 + trial)
        arrays = noise(TABLE, trial, SITES)
        positive = (TABLE["style"] == "glass").to_numpy()
        unit = int(rng.integers(16))
        arrays["prior.blocks.0/mlp"][positive, 1, unit] += shift() * rng.choice([-1, 1])
        recording = recording_of(TABLE, arrays, tmp_path / str(trial))
        found = find(recording, **OPTIONS, flips=1, top=1)
        right["neuron"] += found.top_ranked("neuron").unit == f"prior.blocks.0/mlp[{unit}]@1"
        right["direction"] += found.top_ranked("direction").site == "prior.blocks.0/mlp@1"
    assert right["neuron"] >= 45, right
    assert right["direction"] >= 45, right


@pytest.mark.slow
def test_where_nothing_is_planted_something_is_found_in_at_most_10_of_100(tmp_path: Path) -> None:
    anything = 0
    for trial in range(100):
        arrays = noise(TABLE, 5000 + trial, FEW)
        recording = recording_of(TABLE, arrays, tmp_path / str(trial))
        found = find(recording, **OPTIONS, flips=1, top=1000)
        assert found.tested == len(found.findings)
        anything += any(one.detects.q <= 0.05 for one in found.findings)
    assert anything <= 10


def found_in_skewed_noise(trials: int, folder: Path) -> int:
    """Recordings of rectified noise, few seeds of each prompt on one side, that find anything."""
    prompts = [{"prompt": f"p {at:02}", "seed": seed} for at in range(80) for seed in range(8)]
    table = pd.DataFrame(prompts)
    options: dict[str, Any] = {"within": "prompt", "kind": "neuron", "flips": 1, "top": 1000}
    anything = 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        rare = pd.DataFrame({"predicted.it": np.where(rng.random(len(table)) < 0.15, "yes", "no")})
        arrays = {"prior/embedding": np.maximum(rng.normal(size=(len(table), 1, 100)) - 1, 0)}
        recording = recording_of(table, arrays, folder / str(trial))
        both = dict.fromkeys(("selection", "evaluation"), rare)
        found = find(
            recording,
            positive="predicted.it == 'yes'",
            negative="predicted.it == 'no'",
            labels=both,
            **options,
        )
        anything += any(one.detects.q <= 0.05 for one in found.findings)
        assert "template" not in " ".join(found.warnings)
    return anything


@pytest.mark.slow
def test_where_nothing_is_planted_in_skewed_units_balanced_arms_find_no_more(
    tmp_path: Path,
) -> None:
    assert found_in_skewed_noise(60, tmp_path) <= 6


def test_unbalanced_arms_would_find_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clerestory.contrasts.samples.balance_arms", lambda samples, rng: samples)
    assert found_in_skewed_noise(10, tmp_path) >= 9
