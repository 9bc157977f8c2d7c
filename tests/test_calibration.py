"""A small calibration: tests find nothing, and intervals cover, as often as they say.

`make calibrate` is the whole of it. A test here fails only if the exact binomial test rejects the
nominal rate at p < .001, so that chance alone fails one of a thousand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parents[1] / "tools"))
calibrate = pytest.importorskip("calibrate")

SETS, FEW = 200, 40
"""Data sets, and fewer where the whole verb is run on each."""
REJECTED = 0.001
NULLS = [
    ("find null phrase J6 I24", FEW),
    ("find null template J6 I24", FEW),
    ("find null skew (gamma .15) J6 I24", FEW),
    ("find null hard negatives J4 I12", FEW),
    ("group null label leans on the template J4 I12", SETS),
    ("verify claims I24 S4", SETS),
    ("steer claims I24 S4", SETS),
    ("suppress claims I24 S4", SETS),
    ("verify baselines", SETS),
    ("attribute J12", SETS),
    ("familiarity", SETS),
    ("maximize", SETS),
]
INTERVALS = [
    "find interval phrase J6 I24",
    "find interval ties J4 I12",
    "group interval J4 I12",
    "verify changes I24 S4",
    "steer rates J6 I24 S4",
    "attribute J12",
]


def rejects(share: float, sets: int, nominal: float, alternative: str) -> bool:
    """Whether a share of sets cannot be that of a nominal rate."""
    test: Any = stats.binomtest(round(share * sets), sets, nominal, alternative)
    return bool(test.pvalue < REJECTED)


@pytest.mark.parametrize(("part", "sets"), NULLS)
def test_nothing_is_found_where_nothing_differs(part: str, sets: int) -> None:
    rows = [row for row in calibrate.measure(part, sets) if row["any_found"] is not None]
    assert rows
    for row in rows:
        assert not rejects(row["any_found"], row["sets"], 0.05, "greater"), row


@pytest.mark.parametrize("part", INTERVALS)
def test_intervals_cover(part: str) -> None:
    rows = [row for row in calibrate.measure(part, SETS) if row["coverage"] is not None]
    assert rows
    for row in rows:
        assert not rejects(row["coverage"], row["sets"], 0.95, "less"), row
        assert 0 < row["width"] < 1.2


@pytest.mark.parametrize("part", [name for name in calibrate.PARTS if "confound" in name])
def test_confounded_data_sets_are_warned_of(part: str) -> None:
    (row,) = calibrate.measure(part, 10)
    assert row["warned"] == 1


def test_a_planted_unit_is_found_with_six_phrases_and_twenty_four_items() -> None:
    (row,) = calibrate.measure("find power 0.9 J6 I24", FEW)
    assert not rejects(row["power"], row["sets"], 0.9, "less")


def test_a_part_has_the_same_figures_again() -> None:
    assert calibrate.measure("attribute J12", 20) == calibrate.measure("attribute J12", 20)
