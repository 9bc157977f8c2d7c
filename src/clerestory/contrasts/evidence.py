"""A claim about one unit: how well it detects a concept, and whether it is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Detection", "Finding", "SiteFigure", "Status", "UnitKind", "unit_address"]

UnitKind = Literal["neuron", "direction"]
Status = Literal["found", "not found", "reversed", "undecided"]


def unit_address(site: str, unit: str | int) -> str:
    """Address of a unit: its site's, with the unit before the step.

    Args:
        site: Address of the site, perhaps with a step.
        unit: Number of a neuron, or name of a direction method.

    Returns:
        The unit's address.

    >>> unit_address("denoiser.mid.res.0/out@5", 17)
    'denoiser.mid.res.0/out[17]@5'
    """
    path, at, step = site.partition("@")
    # `text.blocks.2/mlp@5` and 3 give `text.blocks.2/mlp[3]@5`.
    return f"{path}[{unit}]{at}{step}"


@dataclass(frozen=True)
class Detection:
    """How well a unit detects the concept, on the evaluation half alone.

    All figures have the unit's sign, so that more is better.

    Attributes:
        auroc: Area under the ROC curve, positive against negative.
        low: Lower limit of its interval over items and templates.
        high: Upper limit.
        level: Coverage of the intervals: 0.95, and more for units that were found, which are looked
            at because they were.
        p: One-sided, over items and templates; the larger one of the two contrasts.
        q: Benjamini–Hochberg over the picks.
        hard_negative_auroc: Positive against hard negative; None without such an arm.
        hard_negative_low: Lower limit of its interval.
        hard_negative_high: Upper limit.
        df: Degrees of freedom of the test.
        detectable_auroc: The AUROC that a test with these errors finds with 80% power at p ≤ 0.05,
            above 1 where there is none; None for tests of raw values.
        items: Evaluation items.
    """

    auroc: float
    low: float
    high: float
    level: float
    p: float
    q: float
    hard_negative_auroc: float | None
    hard_negative_low: float | None
    hard_negative_high: float | None
    df: float
    detectable_auroc: float | None
    items: int

    @property
    def worst_auroc(self) -> float:
        """The lower one of the AUROCs against negatives and against hard negatives."""
        hard = self.hard_negative_auroc
        return self.auroc if hard is None else min(self.auroc, hard)

    @property
    def worst_low(self) -> float:
        """The lower one of the two lower limits."""
        hard = self.hard_negative_low
        # The claim is against negatives and hard negatives both, so that the weaker one counts.
        return self.low if hard is None else min(self.low, hard)

    @property
    def power_text(self) -> str:
        """What the test can find, as the end of a sentence; "" for tests of raw values."""
        if self.detectable_auroc is None:
            return ""
        if self.detectable_auroc > 1:
            return "; not even an AUROC of 1 would be found with 80% power"
        if self.detectable_auroc < 0.505:
            # Perfect separation has no error from which another AUROC's could be told.
            return "; without overlap of the arms no power can be given"
        return f"; an AUROC of {self.detectable_auroc:.2f} would be found with 80% power"


@dataclass(frozen=True)
class Finding:
    """One unit and what it detects.

    Attributes:
        unit: Its address: `site[17]` for a neuron, `site[difference]` for a difference of means,
            `site[probe]` and `site[sparse]` for logistic probes, with `@5` where it is of a step.
        kind: A neuron or a direction.
        sign: −1 for a unit that is *lower* with the concept.
        selection_rank: Its rank among its kind in the selection half, from 1.
        status: `found`: q ≤ 0.05 and the lower limits above 0.5; `reversed`: an upper limit below
            0.5; `undecided`: too few items or templates for a claim; otherwise `not found`.
        detects: How well it detects the concept in the evaluation half.
    """

    unit: str
    kind: UnitKind
    sign: Literal[1, -1]
    selection_rank: int
    status: Status
    detects: Detection

    @property
    def site(self) -> str:
        """The address of its site, with the step where it has one."""
        # From the right: the step follows the unit, and a site has no bracket.
        path, _, rest = self.unit.rpartition("[")
        return path + rest.partition("]")[2]

    @property
    def number(self) -> int:
        """The number of a neuron among the units of its site.

        Raises:
            ValueError: It is a direction, which has a name.
        """
        return int(self.unit.rpartition("[")[2].partition("]")[0])


@dataclass(frozen=True)
class SiteFigure:
    """How well the first-ranked unit of a site does: a description, not a test.

    Attributes:
        site: The site's address, with the step where it has one.
        kind: A neuron or a direction.
        unit: The unit that the selection half ranks first there.
        auroc: Its AUROC in the evaluation half, against negatives.
        hard_negative_auroc: Against hard negatives; None without such an arm.
    """

    site: str
    kind: UnitKind
    unit: str
    auroc: float
    hard_negative_auroc: float | None

    @property
    def worst_auroc(self) -> float:
        """The lower one of the two AUROCs."""
        hard = self.hard_negative_auroc
        return self.auroc if hard is None else min(self.auroc, hard)
