"""How often the search is right where the truth is known, and finds what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from contrasts.recorded import factorial, noise, recording_of
from scipy import stats

from clerestory.contrasts import find

SITES = {"text.blocks.0/mlp": (1, 16), "prior.blocks.0/mlp": (2, 16), "prior/embedding": (1, 16)}
FEW = {"text.blocks.0/mlp": (1, 8), "prior/embedding": (1, 8)}
ASKED: dict[str, Any] = {
    "shown": "style == 'glass'",
    "absent": "style == 'plain'",
    "decoy": "style == 'window'",
    "match": "subject",
}
TABLE = factorial(contents=60, phrasings=2)
ORACLE = 0.90
"""The AUROC of a judge who knows the planted direction, content by content."""


def shift() -> float:
    """How far shown lies from absent, in a unit whose contents and samples both have variance 1."""
    return float(np.sqrt(2) * stats.norm.ppf(ORACLE) * np.sqrt(2))


@pytest.mark.slow
def test_the_planted_site_and_unit_come_first_in_45_of_50(tmp_path: Path) -> None:
    right = {"neuron": 0, "direction": 0}
    for trial in range(50):
        rng = np.random.default_rng(1000 + trial)
        arrays = noise(TABLE, trial, SITES)
        shown = (TABLE["style"] == "glass").to_numpy()
        unit = int(rng.integers(16))
        arrays["prior.blocks.0/mlp"][shown, 1, unit] += shift() * rng.choice([-1, 1])
        recording = recording_of(TABLE, arrays, tmp_path / str(trial))
        found = find(recording, **ASKED, flips=1, top=1)
        right["neuron"] += found.picked("neuron").unit == f"prior.blocks.0/mlp[{unit}]@1"
        right["direction"] += found.picked("direction").site == "prior.blocks.0/mlp@1"
    assert right["neuron"] >= 45, right
    assert right["direction"] >= 45, right


@pytest.mark.slow
def test_where_nothing_is_planted_something_is_found_in_at_most_10_of_100(tmp_path: Path) -> None:
    anything = 0
    for trial in range(100):
        arrays = noise(TABLE, 5000 + trial, FEW)
        recording = recording_of(TABLE, arrays, tmp_path / str(trial))
        found = find(recording, **ASKED, flips=1, top=1000)
        assert found.tested == len(found.findings)
        anything += any(one.detects.q <= 0.05 for one in found.findings)
    assert anything <= 10


def found_in_skewed_noise(trials: int, folder: Path) -> int:
    """Recordings of rectified noise, few seeds of each prompt on one side, that find anything."""
    prompts = [{"prompt": f"p {at:02}", "seed": seed} for at in range(80) for seed in range(8)]
    table = pd.DataFrame(prompts)
    how: dict[str, Any] = {"within": "prompt", "by": "neuron", "flips": 1, "top": 1000}
    anything = 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        rare = pd.DataFrame({"drawn.it": np.where(rng.random(len(table)) < 0.15, "yes", "no")})
        arrays = {"prior/embedding": np.maximum(rng.normal(size=(len(table), 1, 100)) - 1, 0)}
        recording = recording_of(table, arrays, folder / str(trial))
        both = dict.fromkeys(("discovery", "report"), rare)
        found = find(
            recording, shown="drawn.it == 'yes'", absent="drawn.it == 'no'", labels=both, **how
        )
        anything += any(one.detects.q <= 0.05 for one in found.findings)
        assert "phrasing" not in found.warning
    return anything


@pytest.mark.slow
def test_where_nothing_is_planted_in_skewed_units_even_sides_find_no_more(tmp_path: Path) -> None:
    assert found_in_skewed_noise(60, tmp_path) <= 6


def test_uneven_sides_would_find_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clerestory.contrasts.arms.evened", lambda samples, rng: samples)
    assert found_in_skewed_noise(10, tmp_path) >= 9
