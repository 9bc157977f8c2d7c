"""How the samples of a half make a comparison: grids of arms, or cells that hold both sides.

A table of samples has a row for each, in the order of the activations:

    prompt
    item      what the prompt is about
    phrase    the phrase for the concept, which belongs to one arm
    template  the sentence frame, which the arms share
    arm       `positive`, `negative` or `hard_negative`
    half      `selection` or `evaluation`
    seed

Where the prompt sets the arm, each arm is a grid of items × phrases × frames (`ArmGrid`). Where the
picture does, as with `predicted.mood == 'scared'`, only samples of one item in one template are
compared (`CellDesign`): items that are often scared differ from others in more than the mood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from clerestory.contrasts.arms import ARMS, ArmValues
from clerestory.errors import EmptyArmError
from clerestory.stats.clustered_intervals import auroc_interval, cell_auroc_interval
from clerestory.stats.intervals import Interval
from clerestory.stats.random_factors import ArmTest, arm_test, cell_test, pooled_midranks
from clerestory.stats.ranks import auroc
from clerestory.types import Floats, Integers

__all__ = ["ArmGrid", "CellDesign", "Design", "DesignSizes", "arm_grid", "cell_design"]

FACTORS = ("item", "phrase", "template")
"""The axes of an arm's grid."""
SHARED = 0.5
"""Share of the items of the arm with the fewest that all arms must have, to be compared by item."""


@dataclass(frozen=True)
class DesignSizes:
    """How many levels of each random factor a comparison has.

    Attributes:
        items: Items, the fewer ones of the two arms where they differ.
        templates: Levels of what is varied in the wording, by arm: phrases, or frames where each
            arm has one phrase.
        design: `nested`: each arm has its own phrases; `crossed`: the arms share their frames, and
            each has one phrase; `nested in crossed frames`: both; `cells`: sides within cells of
            an item and a template.
        paired: Whether the arms share their items.
        frames: Sentence frames that the arms share.
    """

    items: int
    templates: Mapping[str, int]
    design: str
    paired: bool
    frames: int


class Design(Protocol):
    """A half's samples as a comparison of the positive arm with the others."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, the positive one first."""

    @property
    def item_names(self) -> tuple[str, ...]:
        """The items, sorted."""

    @property
    def dropped(self) -> tuple[str, ...]:
        """Levels that were left out to make the comparison complete."""

    @property
    def sizes(self) -> DesignSizes:
        """Levels of the random factors."""

    def average(self, values: Floats) -> ArmValues:
        """Average activations `[sample, unit]` to a row for each item (or cell) of each arm.

        Args:
            values: Activations `[sample, unit]`, of the samples that the design was made of.

        Returns:
            A row for each item of an arm, or for each cell.
        """

    def auroc(self, values: Floats, against: str) -> NDArray[np.float64]:
        """AUROC `[unit]` of the positive arm against another.

        Args:
            values: `[sample, unit]`.
            against: The arm that the positive one is compared with.

        Returns:
            `[unit]`, 0 to 1; 0.5 means no difference.
        """

    def test(self, values: Floats, against: str, *, ranks: bool = True) -> ArmTest:
        """Test `[unit]` whether the positive arm is higher than another.

        Args:
            values: `[sample, unit]`.
            against: The arm that the positive one is compared with.
            ranks: Whether values are replaced by their ranks; then the difference is AUROC −
                0.5, else
                it is in the units of the activations.

        Returns:
            The one-sided test of each unit.
        """

    def interval(self, values: Floats, against: str, level: float) -> Interval:
        """Interval of one unit's AUROC, from its values `[sample]`.

        Args:
            values: `[sample]`.
            against: The arm that the positive one is compared with.
            level: Coverage, such as 0.95.

        Returns:
            The lower and the upper limit of the AUROC.
        """


@dataclass(frozen=True, eq=False)
class ArmGrid:
    """Arms that are complete grids of items × phrases × frames.

    Attributes:
        items: The items of each arm, sorted; the same in every arm where `paired`.
        phrases: The phrases of each arm, sorted.
        templates: The sentence frames, which all arms share.
        paired: Whether the arms share their items.
        weights: For each arm the matrix `[cell, sample]` that averages samples into cells, items
            first, then phrases, then frames.
        dropped: Levels that were left out to make the grid complete, as `item: a cat`.
    """

    items: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, tuple[str, ...]]
    templates: tuple[str, ...]
    paired: bool
    weights: Mapping[str, sparse.csr_matrix]
    dropped: tuple[str, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, the positive one first."""
        return tuple(self.weights)

    @property
    def item_names(self) -> tuple[str, ...]:
        """The items of all arms, sorted."""
        return tuple(sorted(set().union(*self.items.values())))

    @property
    def sizes(self) -> DesignSizes:
        """Levels of the random factors."""
        phrases = {arm: len(names) for arm, names in self.phrases.items()}
        nested = min(phrases.values()) > 1
        frames = len(self.templates)
        # With several phrases, each of one arm, phrases are nested in arms; frames cross them.
        design = "nested" if nested else "crossed"
        if nested and frames > 1:
            design = "nested in crossed frames"
        return DesignSizes(
            items=min(len(names) for names in self.items.values()),
            # The factor that limits the claim: phrases where they vary, else frames.
            templates=phrases if nested else dict.fromkeys(phrases, frames),
            design=design,
            paired=self.paired,
            frames=frames,
        )

    def cells(self, values: Floats, arm: str) -> NDArray[np.float64]:
        """Average the samples of each cell.

        Args:
            values: Activations `[sample, unit]`.
            arm: The arm.

        Returns:
            `[item, phrase, frame, unit]`.
        """
        shape = (len(self.items[arm]), len(self.phrases[arm]), len(self.templates))
        # A sparse product: each sample is in one cell, so a dense matrix
        # would be nearly all zeros.
        averaged = self.weights[arm] @ np.asarray(values, np.float64)
        # In the precision of recordings: means of different numbers of equal values differ beyond
        # it, by rounding, and ranks would take the difference for one of the arms.
        averaged = np.asarray(averaged, np.float32).astype(np.float64)
        return averaged.reshape(*shape, values.shape[1])

    def average(self, values: Floats) -> ArmValues:
        """Average seeds within cells, then phrases and frames, to a row for each item.

        Args:
            values: `[sample, unit]`.

        Returns:
            `[item, unit]` for each arm.
        """
        means = {arm: self.cells(values, arm).mean((1, 2)) for arm in self.arms}
        return ArmValues(
            means["positive"], means["negative"], means.get("hard_negative"), self.paired
        )

    def auroc(self, values: Floats, against: str) -> NDArray[np.float64]:
        """AUROC of the cells of the positive arm against those of another.

        Args:
            values: `[sample, unit]`.
            against: The other arm.

        Returns:
            `[unit]`.
        """
        positive, other = (self._flat(values, arm) for arm in ("positive", against))
        return np.asarray(auroc(positive, other))

    def test(self, values: Floats, against: str, *, ranks: bool = True) -> ArmTest:
        """Test over items, phrases and frames; `difference` is AUROC − 0.5 for ranks.

        Args:
            values: `[sample, unit]`.
            against: The other arm.
            ranks: Whether to compare mid-ranks among both arms instead of values.

        Returns:
            The test of each unit.
        """
        positive, other = (self.cells(values, arm) for arm in ("positive", against))
        # Ranks over both arms of this comparison, since each has other negatives.
        if ranks:
            positive, other = pooled_midranks(positive, other)
        return arm_test(positive, other, paired=self.paired)

    def interval(self, values: Floats, against: str, level: float) -> Interval:
        """Interval of the AUROC over items and templates.

        Args:
            values: One unit's `[sample]`.
            against: The other arm.
            level: Coverage.

        Returns:
            The interval, over items and templates as in `clerestory.stats.auroc_interval`.
        """
        positive, other = (
            self.cells(values[:, None], arm)[..., 0] for arm in ("positive", against)
        )
        return auroc_interval(positive, other, paired=self.paired, level=level)

    def _flat(self, values: Floats, arm: str) -> NDArray[np.float64]:
        return self.cells(values, arm).reshape(-1, values.shape[1])


@dataclass(frozen=True, eq=False)
class CellDesign:
    """Cells of one item and one template, each with samples of every arm.

    Attributes:
        items: The item of each cell, codes from 0.
        phrases: The phrase of each cell, codes from 0.
        templates: The sentence frame of each cell, codes from 0.
        rows: The rows of the samples of each cell, by arm.
        item_names: The items that have a cell, sorted.
    """

    items: Integers
    phrases: Integers
    templates: Integers
    rows: Mapping[str, tuple[Integers, ...]]
    item_names: tuple[str, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, the positive one first."""
        return tuple(self.rows)

    @property
    def dropped(self) -> tuple[str, ...]:
        """None: cells that hold one side only are no part of the comparison."""
        return ()

    @property
    def sizes(self) -> DesignSizes:
        """Levels of the random factors."""
        counts = [int(codes.max()) + 1 for codes in (self.phrases, self.templates)]
        # Where both vary, the one with fewer levels limits what can be said.
        wording = min((count for count in counts if count > 1), default=1)
        return DesignSizes(
            items=len(self.item_names),
            templates=dict.fromkeys(self.arms, wording),
            design="cells",
            paired=True,
            frames=counts[1],
        )

    def average(self, values: Floats) -> ArmValues:
        """Average the samples of each arm within each cell; a row for each cell.

        Args:
            values: `[sample, unit]`.

        Returns:
            `[cell, unit]` for each arm.
        """
        means = {
            arm: np.stack([values[rows].mean(0, dtype=np.float64) for rows in cells])
            for arm, cells in self.rows.items()
        }
        return ArmValues(means["positive"], means["negative"], means.get("hard_negative"))

    def auroc(self, values: Floats, against: str) -> NDArray[np.float64]:
        """Mean over cells of the AUROC within each.

        Args:
            values: `[sample, unit]`.
            against: The other arm.

        Returns:
            `[unit]`.
        """
        return np.asarray(self._cell_aurocs(values, against).mean(0))

    def test(self, values: Floats, against: str, *, ranks: bool = True) -> ArmTest:
        """Test over items and templates; each cell counts by its AUROC less 0.5.

        An AUROC within a cell is 0.5 on average where the sides do not differ, however skewed the
        unit and unequal the numbers of samples; a difference of means is skewed as well.

        Args:
            values: `[sample, unit]`.
            against: The other arm.
            ranks: Whether a cell counts by its AUROC; otherwise by its difference of means.

        Returns:
            The test of each unit.
        """
        if ranks:
            # Ranks within a cell: only there do both sides share item and template.
            differences = self._cell_aurocs(values, against) - 0.5
        else:
            means = self.average(values)
            other = means.negative if against == "negative" else means.hard_negative
            assert other is not None
            differences = means.positive - other
        return cell_test(differences, self.items, self.phrases, self.templates)

    def interval(self, values: Floats, against: str, level: float) -> Interval:
        """Interval of the mean AUROC within cells.

        Args:
            values: One unit's `[sample]`.
            against: The other arm.
            level: Coverage.

        Returns:
            The interval, as in `clerestory.stats.cell_auroc_interval`.
        """
        aurocs = self._cell_aurocs(values[:, None], against)[:, 0]
        return cell_auroc_interval(aurocs, self.items, self.phrases, self.templates, level=level)

    def _cell_aurocs(self, values: Floats, against: str) -> NDArray[np.float64]:
        """`[cell, unit]`."""
        cells = zip(self.rows["positive"], self.rows[against], strict=True)
        return np.stack([auroc(values[first], values[second]) for first, second in cells])


def arm_grid(samples: pd.DataFrame, half: str) -> ArmGrid:
    """Make the largest complete grid of each arm of a half.

    Args:
        samples: A row for each sample, with the columns of this module's docstring.
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
        samples: A row for each sample, with the columns of this module's docstring.
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
