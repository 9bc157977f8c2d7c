"""Makes the designs of a half from its samples: complete grids of arms, or cells with every arm.

The table of samples is that of `clerestory.contrasts.designs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from clerestory.contrasts.arms import ARMS
from clerestory.contrasts.designs import FACTORS, ArmGrid, CellDesign
from clerestory.errors import EmptyArmError
from clerestory.types import Integers

__all__ = ["arm_grid", "cell_design"]

SHARED = 0.5
"""Share of the items of the arm with the fewest that all arms must have, to be compared by item."""


def arm_grid(samples: pd.DataFrame, half: str) -> ArmGrid:
    """Make the largest complete grid of each arm of a half.

    Args:
        samples: A row for each sample, with the columns that `designs` lists.
        half: `selection` or `evaluation`.

    Returns:
        The grids.

    Raises:
        EmptyArmError: An arm is empty, or no item has every arm.
    """
    used, arms = _half_rows(samples, half)
    by_arm = {arm: used[used["arm"] == arm] for arm in arms}
    item_sets = [set(rows["item"]) for rows in by_arm.values()]
    shared = set.intersection(*item_sets)
    # Arms that have few items in common are compared as independent groups of items, which is valid
    # as well: it only does without the items' covariance.
    paired = len(shared) >= SHARED * min(map(len, item_sets))
    unshared: list[str] = []
    if paired:
        unshared = [f"item: {item}" for item in sorted(set().union(*item_sets) - shared)]
        by_arm = {arm: rows[rows["item"].isin(shared)] for arm, rows in by_arm.items()}
    complete, dropped = _complete(by_arm, paired)
    items, phrases, templates = complete
    # Seeds of a cell are averaged: they are replicates, not levels of a factor.
    weights = {
        arm: _cell_weights(rows, items[arm], phrases[arm], templates, len(samples))
        for arm, rows in by_arm.items()
    }
    return ArmGrid(items, phrases, templates, paired, weights, (*unshared, *dropped))


def cell_design(samples: pd.DataFrame, half: str) -> CellDesign:
    """Make cells of one item and one template that hold samples of every arm.

    Args:
        samples: A row for each sample, with the columns that `designs` lists.
        half: `selection` or `evaluation`.

    Returns:
        The cells.

    Raises:
        EmptyArmError: An arm is empty, or no cell holds every arm.
    """
    used, arms = _half_rows(samples, half)
    # Where something else is controlled, such as a colour, a cell has one level of it as well.
    stratum = (
        used["stratum"] if "stratum" in used else pd.Series("", index=used.index, name="stratum")
    )
    keys = [used["item"], used["phrase"], used["template"], stratum, used["arm"]]
    # Sorted keys give the same order of cells whatever the order of the samples.
    rows = used.groupby(keys, sort=True)["row"].apply(np.array)
    # Arms side by side; a cell without samples of one arm has NaN there and is dropped.
    cells = pd.concat({arm: part.droplevel("arm") for arm, part in rows.groupby("arm")}, axis=1)
    complete = cells[list(arms)].dropna()
    if complete.empty:
        raise EmptyArmError(
            f"No item and template of the {half} half has samples of every arm: {', '.join(arms)}."
            " Record more seeds of each prompt, or items with several prompts."
        )
    (item, names), (phrase, _), (template, _) = (
        pd.factorize(complete.index.get_level_values(factor), sort=True) for factor in FACTORS
    )
    return CellDesign(
        items=item,
        phrases=phrase,
        templates=template,
        rows={arm: tuple(complete[arm]) for arm in arms},
        item_names=tuple(map(str, names)),
    )


def _half_rows(samples: pd.DataFrame, half: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The samples of a half, with their row among all; its arms. EmptyArmError without an arm."""
    # `row` keeps each sample's position in all samples, by which activations are indexed.
    used = samples.assign(row=np.arange(len(samples)))[(samples["half"] == half).to_numpy()]
    present = tuple(arm for arm in ARMS if (used["arm"] == arm).any())
    # Both halves need the same arms, also hard negatives.
    for arm in ARMS:
        if arm not in present and (arm != "hard_negative" or (samples["arm"] == arm).any()):
            raise EmptyArmError(
                f"No sample of the {half} half is {arm}: it has"
                f" {', '.join(present) or 'no sample'}."
            )
    return used, present


Levels = tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]], tuple[str, ...]]
"""Items by arm, phrases by arm, frames."""


def _complete(by_arm: Mapping[str, pd.DataFrame], paired: bool) -> tuple[Levels, tuple[str, ...]]:
    """The largest complete grid, by dropping the level with the most missing cells each time."""
    # One boolean array per arm, `[item, phrase, frame]`, all arms with the same frames.
    frames = sorted(set().union(*(set(rows["template"]) for rows in by_arm.values())))
    levels: dict[tuple[str, str], list[str]] = {}
    present = {}
    for arm, rows in by_arm.items():
        items, phrases = (sorted(rows[column].unique()) for column in ("item", "phrase"))
        levels["item", arm], levels["phrase", arm] = items, phrases
        cells = np.zeros((len(items), len(phrases), len(frames)), dtype=bool)
        cells[tuple(_level_codes(rows, items, phrases, frames))] = True
        # True where at least one seed was recorded.
        present[arm] = cells
    dropped = []
    # Greedy: the largest complete subgrid is an NP-hard search, and grids are nearly complete.
    while not all(cells.all() for cells in present.values()):
        # One at a time, since dropping a level changes the shares of all others.
        axis, arm, at, name = _worst_level(present, levels, frames, paired)
        dropped.append(f"{FACTORS[axis]}: {name}")
        if axis == 2:
            frames.pop(at)
        for other in present:
            # Paired items and frames leave every arm together.
            if axis == 2 or other == arm or (axis == 0 and paired):
                present[other] = np.delete(present[other], at, axis)
                if axis < 2:
                    levels[FACTORS[axis], other].pop(at)
    if not all(cells.size for cells in present.values()):
        raise EmptyArmError("No item was recorded in the templates of every arm.")
    complete_items = {arm: tuple(levels["item", arm]) for arm in by_arm}
    complete_phrases = {arm: tuple(levels["phrase", arm]) for arm in by_arm}
    return (complete_items, complete_phrases, tuple(frames)), tuple(dropped)


def _level_codes(rows: pd.DataFrame, *levels: Sequence[str]) -> list[Integers]:
    """The number of each row's item, phrase and frame among these; −1 where it is not one."""
    return [
        pd.Index(names).get_indexer(pd.Index(rows[column]))
        for column, names in zip(FACTORS, levels, strict=True)
    ]


def _worst_level(
    present: Mapping[str, NDArray[np.bool_]],
    levels: Mapping[tuple[str, str], list[str]],
    frames: list[str],
    paired: bool,
) -> tuple[int, str, int, str]:
    """Axis, arm, number and name of the level of which the largest share of cells is missing."""
    candidates = []
    arms = list(present)
    for arm, cells in present.items():
        shares = (~cells).mean((0, 2))
        candidates += [
            (share, 1, arm, at, levels["phrase", arm][at]) for at, share in enumerate(shares)
        ]
        # Unpaired arms have items of their own, which leave their arm alone.
        if not paired:
            by_item = (~cells).mean((1, 2))
            candidates += [
                (share, 0, arm, at, levels["item", arm][at]) for at, share in enumerate(by_item)
            ]
    if paired:
        # Paired items leave all arms together, so their share is the mean over arms.
        by_item = np.mean([(~cells).mean((1, 2)) for cells in present.values()], axis=0)
        candidates += [
            (share, 0, arms[0], at, levels["item", arms[0]][at]) for at, share in enumerate(by_item)
        ]
    by_frame = np.mean([(~cells).mean((0, 1)) for cells in present.values()], axis=0)
    candidates += [(share, 2, arms[0], at, frames[at]) for at, share in enumerate(by_frame)]
    # Of equal shares the item goes: there are more items than phrases.
    worst = max(candidates, key=lambda candidate: (candidate[0], -candidate[1]))
    return worst[1:]


def _cell_weights(
    rows: pd.DataFrame,
    items: tuple[str, ...],
    phrases: tuple[str, ...],
    templates: tuple[str, ...],
    samples: int,
) -> sparse.csr_matrix:
    """`[cell, sample]`, each row summing to 1; rows are samples of one arm by position."""
    codes = _level_codes(rows, items, phrases, templates)
    inside = np.all([code >= 0 for code in codes], axis=0)
    shape = (len(items), len(phrases), len(templates))
    cell = np.ravel_multi_index([code[inside] for code in codes], shape)
    size = int(np.prod(shape))
    counts = np.bincount(cell, minlength=size)
    columns = rows["row"].to_numpy()[inside]
    # Averages: each sample weighs one over the number of samples in its cell.
    return sparse.csr_matrix((1 / counts[cell], (cell, columns)), shape=(size, samples))
