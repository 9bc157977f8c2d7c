"""Rates over the items of a design, and how much a condition changes them."""

from __future__ import annotations

from dataclasses import dataclass

from clerestory.errors import EvidenceError
from clerestory.evaluation.conditions import Design
from clerestory.reporting.intervals import format_interval
from clerestory.stats import newcombe, wilson
from clerestory.types import Bools

__all__ = ["Effect", "Rate", "effect_of", "rate_of"]


@dataclass(frozen=True)
class Rate:
    """A proportion averaged over items, with a 95% Wilson interval.

    Attributes:
        rate: The mean over items of each item's share of cells.
        low: Lower limit.
        high: Upper limit.
        items: How many items.
    """

    rate: float
    low: float
    high: float
    items: int

    @property
    def hits(self) -> float:
        """Number of items with a hit, each counted by its share of cells."""
        return self.rate * self.items


@dataclass(frozen=True)
class Effect:
    """A rate less another on the same items and seeds, with a 95% interval (Newcombe's).

    The interval assumes independent samples and is therefore conservative for pairs.

    Attributes:
        effect: The difference of the rates, -1 to 1.
        low: Lower limit.
        high: Upper limit.
    """

    effect: float
    low: float
    high: float

    def __str__(self) -> str:
        return format_interval(self.effect, self.low, self.high, "z.2f")


def rate_of(hits: Bools, design: Design) -> Rate:
    """The rate of hits, the cells of an item averaged first.

    Args:
        hits: `[cell]`.
        design: What the cells are of.

    Returns:
        The rate, with an interval over items.

    >>> import numpy as np
    >>> rate_of(np.array([True, False, True, True]), Design.crossed(["a", "b"], (0, 1))).rate
    0.75
    """
    means = design.item_means(hits)
    # Over items, not cells: the seeds of an item are not independent of each other.
    interval = wilson(float(means.sum()), len(means))
    return Rate(float(means.mean()), *interval, len(means))


def effect_of(after: Rate, before: Rate) -> Effect:
    """How much higher the rate is after a change than before.

    Args:
        after: The rate under the condition.
        before: The rate of the reference.

    Returns:
        The difference, with its interval.

    Raises:
        EvidenceError: The two are of different numbers of items.

    Source: Newcombe 1998, method 10.

    >>> effect_of(Rate(0.5, 0.3, 0.7, 10), Rate(0.25, 0.1, 0.5, 10)).effect
    0.25
    """
    if after.items != before.items:
        raise EvidenceError(f"{after.items} items after and {before.items} before do not compare.")
    interval = newcombe(after.hits, after.items, before.hits, before.items)
    return Effect(after.rate - before.rate, *interval)
