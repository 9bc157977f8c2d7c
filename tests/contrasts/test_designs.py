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


def test_a_unit_that_knows_the_item_alone_is_the_same_in_arms_of_unequal_seeds() -> None:
    rows = [
        (f"{item}", f"{arm} {phrase}", arm)
        for item in range(24)
        for arm, seeds in (("positive", 3), ("negative", 2))
        for phrase in range(4)
        for _ in range(seeds)
    ]
    item, phrase, arm = (list(column) for column in zip(*rows, strict=True))
    grid = arm_grid(table(item=item, phrase=phrase, arm=arm), "evaluation")
    by_item = np.random.default_rng(0).normal(size=(24, 50)).astype(np.float32)
    values = by_item[np.array(item, int)]
    # Means of three and of two equal values differ by rounding alone.
    assert (grid.test(values, "negative").p == 1).all()
    assert (grid.auroc(values, "negative") == 0.5).all()


def test_arms_with_few_items_in_common_are_compared_as_independent() -> None:
    def samples(common: int) -> pd.DataFrame:
        rows = [
            (f"common {item}" if item < common else f"{arm} {item}", f"{arm} {phrase}", arm)
            for arm in ("positive", "negative")
            for item in range(20)
            for phrase in range(2)
        ]
        item, phrase, arm = (list(column) for column in zip(*rows, strict=True))
        return table(item=item, phrase=phrase, arm=arm)

    few, many = arm_grid(samples(1), "evaluation"), arm_grid(samples(15), "evaluation")
    assert (few.paired, few.sizes.items, few.dropped) == (False, 20, ())
    assert (many.paired, many.sizes.items, len(many.dropped)) == (True, 15, 10)
    assert "item: positive 17" in many.dropped


def test_a_cell_design_counts_phrases_and_frames_apart() -> None:
    rows = [
        (f"{item}", f"{phrase}", f"{frame}", arm)
        for item in range(5)
        for phrase in range(2)
        for frame in range(6)
        for arm in ("positive", "negative")
    ]
    item, phrase, frame, arm = (list(column) for column in zip(*rows, strict=True))
    design = cell_design(table(item=item, phrase=phrase, template=frame, arm=arm), "evaluation")
    assert len(design.items) == 60
    assert design.sizes.templates == {"positive": 2, "negative": 2}
    assert design.sizes.frames == 6
