"""Which columns are taken for a confound, and which are another name of an item or a phrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clerestory.contrasts.confounds import confound_warnings


def samples(items: int = 24, phrases: int = 6, *, paired: bool = True) -> pd.DataFrame:
    rows = [
        {
            "prompt": f"{arm} {phrase} {item}",
            "item": f"{item}" if paired else f"{arm} {item}",
            "phrase": f"{arm}: {phrase}",
            "arm": arm,
            "half": ("selection", "evaluation")[item % 2],
            "number": item + items * (arm == "negative"),
        }
        for arm in ("positive", "negative")
        for item in range(items)
        for phrase in range(phrases)
    ]
    return pd.DataFrame(rows)


def kinds(table: pd.DataFrame, column: Sequence[Any], name: str = "light") -> list[str]:
    recorded = table[["prompt", "item"]].assign(**{name: column})
    return [warning.kind for warning in confound_warnings(recorded, {}, table, set())]


def test_a_small_arm_that_always_has_a_level_is_confounded_with_it() -> None:
    table = samples()
    # A tenth of the samples are positive, and a fifth of the negative ones have the level too.
    table = table.drop(table.index[(table["arm"] == "positive") & (table["number"] > 2)])
    night = (table["arm"] == "positive") | (table["number"] % 5 == 0)
    assert kinds(table, np.where(night, "night", "day")) == ["confounded"]


def test_a_level_that_one_arm_always_has_is_a_confound_though_the_other_has_it_at_times() -> None:
    table = samples()
    night = (table["arm"] == "positive") | (table["number"] % 3 == 0)
    assert kinds(table, np.where(night, "night", "day")) == ["confounded"]
    free = table["number"] % 3 == 0
    assert kinds(table, np.where(free, "night", "day")) == []


def test_numbers_that_separate_the_arms_are_a_confound() -> None:
    table = samples()
    rng = np.random.default_rng(0)
    noise = rng.normal(size=len(table))
    assert kinds(table, noise + 6 * (table["arm"] == "positive")) == ["confounded"]
    assert kinds(table, noise) == []


@pytest.mark.parametrize("name", ["seed", "light"])
def test_items_that_arms_do_not_share_may_have_seeds_and_names_of_their_own(name: str) -> None:
    table = samples(paired=False)
    assert kinds(table, table["number"] * 7919 % 104_729 if name == "seed" else table["item"]) == []
    assert kinds(table, table["number"], "row") == []
    # Seeds that items of one arm share are no names of items.
    seeds = (table["arm"] == "positive").astype(int) * 2 + table["number"] % 2
    assert kinds(table, seeds, name) == ["seed-decides" if name == "seed" else "confounded"]


def test_another_name_of_a_phrase_is_no_confound() -> None:
    table = samples()
    assert kinds(table, table["phrase"].str.upper(), "words") == []
    # All phrases of an arm are of one length: that may be what a unit reacts to.
    assert kinds(table, table["phrase"].str.len(), "length") == []
    longer = table["phrase"].str.len() + (table["arm"] == "positive")
    assert kinds(table, longer + table["phrase"].str[-1].astype(int) % 2 * 3, "length") == [
        "confounded"
    ]
