"""Grids of arms and cells that hold both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clerestory.contrasts import arm_grid, cell_design
from clerestory.errors import EmptyArmError


def table(**columns: list[str]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"half": "evaluation", "template": "", "phrase": "", **columns}).assign(
        seed=np.arange(count)
    )


def test_cells_are_means_over_seeds_in_the_order_of_items_and_phrases() -> None:
    samples = table(
        item=["b", "b", "a", "a", "a", "b", "a"],
        phrase=["p1", "p2", "p1", "p2", "p2", "n", "n"],
        arm=["positive"] * 5 + ["negative"] * 2,
    )
    grid = arm_grid(samples, "evaluation")
    values = np.array([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0], [64.0]])
    assert grid.items["positive"] == ("a", "b")
    assert grid.cells(values, "positive")[..., 0, 0].tolist() == [[4.0, 12.0], [1.0, 2.0]]
    assert grid.average(values).positive[:, 0].tolist() == [8.0, 1.5]
    assert grid.sizes.design == "crossed"


def test_the_level_that_lacks_most_cells_leaves_first() -> None:
    rows = [
        (f"item {item}", f"{arm} {phrase}", arm)
        for arm in ("positive", "negative")
        for item in range(6)
        for phrase in range(3)
        # One phrase was recorded for a single item, another lacks one item.
        if (arm, phrase) != ("positive", 2) or item == 0
        if (arm, phrase, item) != ("negative", 1, 4)
    ]
    item, phrase, arm = (list(column) for column in zip(*rows, strict=True))
    grid = arm_grid(table(item=item, phrase=phrase, arm=arm), "evaluation")
    assert grid.phrases == {
        "positive": ("positive 0", "positive 1"),
        "negative": ("negative 0", "negative 1", "negative 2"),
    }
    assert grid.items["positive"] == tuple(f"item {n}" for n in (0, 1, 2, 3, 5))
    assert grid.dropped == ("phrase: positive 2", "item: item 4")


def test_cells_that_hold_one_side_are_left_out() -> None:
    samples = table(
        item=["a", "a", "a", "b", "b", "c"],
        template=["t", "t", "u", "t", "t", "t"],
        arm=["positive", "negative", "positive", "positive", "negative", "negative"],
    )
    design = cell_design(samples, "evaluation")
    assert design.item_names == ("a", "b")
    assert design.average(np.arange(6.0)[:, None]).positive[:, 0].tolist() == [0.0, 3.0]
    assert design.auroc(np.array([[3.0], [1], [0], [1], [1], [9]]), "negative")[0] == 0.75
    with pytest.raises(EmptyArmError, match="has samples of every arm"):
        cell_design(samples.iloc[[0, 2, 5]], "evaluation")


def test_an_empty_arm_is_named() -> None:
    samples = table(item=["a", "b"], arm=["positive", "positive"])
    with pytest.raises(EmptyArmError, match="No sample of the evaluation half is negative"):
        arm_grid(samples, "evaluation")
