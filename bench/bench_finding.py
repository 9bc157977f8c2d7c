"""Contrast statistics against scipy's, and a whole search over many units.

`python bench/bench_finding.py` times the ranks of 100,000 units × 400 samples beside
`scipy.stats.mannwhitneyu`, then finds in a recording of 100,000 units × 4,000 samples.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
from beside import ratio, seconds
from scipy import stats

from clerestory.contrasts import find
from clerestory.stats import auroc

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.recordings import factorial, noise, recording_of

UNITS, SITES, ITEMS = 100_000, 25, 112


def ranks() -> None:
    positive, negative = np.random.default_rng(0).normal(size=(2, 200, UNITS))
    theirs = ratio(
        lambda: stats.mannwhitneyu(positive, negative, axis=0),
        lambda: auroc(positive, negative),
        rounds=2,
    )
    print(f"AUROC of {UNITS:,} units × 400 samples: scipy takes {theirs:.1f} × ours (aim: 3)")


def search() -> None:
    table = factorial(items=ITEMS, phrases=12)[:4_000]
    sites = {f"site.{at}/out": (1, UNITS // SITES) for at in range(SITES)}
    with tempfile.TemporaryDirectory() as folder:
        recording = recording_of(table, noise(table, 0, sites), Path(folder) / "rec")
        before = _memory()
        taken = seconds(
            lambda: find(
                recording,
                positive="style == 'glass'",
                negative="style == 'plain'",
                hard_negative="style == 'window'",
                match="subject",
            )
        )
    print(
        f"find in {UNITS:,} units × {len(table):,} samples, {SITES} sites: {taken / 60:.1f} min,"
        f" {_memory() - before:.1f} GB above what making the recording took"
    )


def _memory() -> float:
    """The most memory held so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    ranks()
    search()
