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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clerestory.contrasts.arms import ArmValues
from clerestory.stats.clustered_intervals import auroc_interval, cell_auroc_interval
from clerestory.stats.intervals import Interval
from clerestory.stats.random_factors import ArmTest, arm_test, cell_test, pooled_midranks
from clerestory.stats.ranks import auroc
from clerestory.types import Floats, Integers

__all__ = ["FACTORS", "ArmGrid", "CellDesign", "Design", "DesignSizes"]

FACTORS = ("item", "phrase", "template")
"""The axes of an arm's grid."""


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
    """Arms that are complete grids of items × phrases × frames; a `Design`.

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
        """Average seeds within cells, then phrases and frames, to a row for each item."""
        means = {arm: self.cells(values, arm).mean((1, 2)) for arm in self.arms}
        return ArmValues(
            means["positive"], means["negative"], means.get("hard_negative"), self.paired
        )

    def auroc(self, values: Floats, against: str) -> NDArray[np.float64]:
        """AUROC of the cells of the positive arm against those of another."""
        positive, other = (self._flat(values, arm) for arm in ("positive", against))
        return np.asarray(auroc(positive, other))

    def test(self, values: Floats, against: str, *, ranks: bool = True) -> ArmTest:
        """Test over items, phrases and frames; `difference` is AUROC − 0.5 for ranks."""
        positive, other = (self.cells(values, arm) for arm in ("positive", against))
        # Ranks over both arms of this comparison, since each has other negatives.
        if ranks:
            positive, other = pooled_midranks(positive, other)
        return arm_test(positive, other, paired=self.paired)

    def interval(self, values: Floats, against: str, level: float) -> Interval:
        """Interval of the AUROC over items and templates."""
        positive, other = (
            self.cells(values[:, None], arm)[..., 0] for arm in ("positive", against)
        )
        return auroc_interval(positive, other, paired=self.paired, level=level)

    def _flat(self, values: Floats, arm: str) -> NDArray[np.float64]:
        return self.cells(values, arm).reshape(-1, values.shape[1])


@dataclass(frozen=True, eq=False)
class CellDesign:
    """Cells of one item and one template, each with samples of every arm; a `Design`.

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
        """Average the samples of each arm within each cell; a row for each cell."""
        means = {
            arm: np.stack([values[rows].mean(0, dtype=np.float64) for rows in cells])
            for arm, cells in self.rows.items()
        }
        return ArmValues(means["positive"], means["negative"], means.get("hard_negative"))

    def auroc(self, values: Floats, against: str) -> NDArray[np.float64]:
        """Mean over cells of the AUROC within each."""
        return np.asarray(self._cell_aurocs(values, against).mean(0))

    def test(self, values: Floats, against: str, *, ranks: bool = True) -> ArmTest:
        """Test over items and templates; each cell counts by its AUROC less 0.5.

        An AUROC within a cell is 0.5 on average where the sides do not differ, however skewed the
        unit and unequal the numbers of samples; a difference of means, which counts without
        `ranks`, is skewed as well.
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
        """Interval of the mean AUROC within cells."""
        aurocs = self._cell_aurocs(values[:, None], against)[:, 0]
        return cell_auroc_interval(aurocs, self.items, self.phrases, self.templates, level=level)

    def _cell_aurocs(self, values: Floats, against: str) -> NDArray[np.float64]:
        """`[cell, unit]`."""
        cells = zip(self.rows["positive"], self.rows[against], strict=True)
        return np.stack([auroc(values[first], values[second]) for first, second in cells])
