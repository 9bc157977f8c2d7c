"""Rates over the items of a design, and changes of rates on the same items.

The item is the unit of replication, and so is the template where a design has several: intervals
say what other items and templates would give. With one template, a figure is about that wording.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clerestory.evaluation.conditions import Design
from clerestory.reporting.intervals import format_interval
from clerestory.stats.rate_intervals import change_interval, rate_interval
from clerestory.types import Bools, Floats

__all__ = ["Effect", "Rate", "effect_of", "outcomes_of", "rate_of"]


@dataclass(frozen=True)
class Rate:
    """The share of cells with a hit, averaged over items, with a 95% interval over items.

    Attributes:
        rate: Mean over items of the share of an item's cells that are hits, 0 to 1.
        low: Lower limit of the interval.
        high: Upper limit of the interval.
        items: Number of items.
    """

    rate: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Effect:
    """The difference between two rates on the same items and seeds, with a 95% interval.

    Attributes:
        effect: The difference of the rates, -1 to 1.
        low: Lower limit of the interval.
        high: Upper limit of the interval.
    """

    effect: float
    low: float
    high: float

    def __str__(self) -> str:
        return format_interval(self.effect, self.low, self.high, "z.2f")


def rate_of(hits: Bools, design: Design) -> Rate:
    """The rate of hits, with an interval over items and templates.

    Args:
        hits: `[cell]`.
        design: The design of the cells.

    Returns:
        The rate; its interval is 0 to 1 where the design has one item.

    >>> rate_of(np.array([True, False, True, True]), Design.crossed(["a", "b"], (0, 1))).rate
    0.75
    """
    outcomes, several = outcomes_of(hits, design), len(design.templates) > 1
    # One item says nothing about others.
    low, high = (0.0, 1.0)
    if len(design.items) > 1:
        low, high = rate_interval(outcomes, templates=several)
    return Rate(float(outcomes.mean()), low, high, len(design.items))


def effect_of(after: Bools, before: Bools, design: Design) -> Effect:
    """How much a condition raises a rate.

    Args:
        after: Hits under the condition, `[cell]`.
        before: Hits under the reference, in the same cells.
        design: The design of the cells.

    Returns:
        The rate after less the rate before; its interval is -1 to 1 where the design has one item.

    >>> design = Design.crossed(["a", "b"], (0, 1))
    >>> effect_of(np.array([True, True, True, False]), np.zeros(4, bool), design).effect
    0.75
    """
    outcomes = [outcomes_of(hits, design)[..., None] for hits in (after, before)]
    low, high = np.array([-1.0]), np.array([1.0])
    if len(design.items) > 1:
        low, high = change_interval(*outcomes, templates=len(design.templates) > 1)
    return Effect(float(outcomes[0].mean() - outcomes[1].mean()), low.item(), high.item())


def outcomes_of(hits: Bools, design: Design) -> Floats:
    """Hits as numbers, by the factors of a design.

    Args:
        hits: `[cell, …]`.
        design: The design of the cells.

    Returns:
        `[item, template, seed, …]`, 0 or 1.
    """
    # Seeds last: they are replicates within an item and template.
    shape = (len(design.items), len(design.templates), -1, *hits.shape[1:])
    return np.asarray(hits, np.float64).reshape(shape)
