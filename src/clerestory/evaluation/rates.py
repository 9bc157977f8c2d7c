"""Rates over the items of a design, and differences between two rates."""

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
    """The share of cells with a hit, averaged over items, with a 95% Wilson interval.

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

    @property
    def hits(self) -> float:
        """The sum over items of their shares of hits; not always a whole number."""
        return self.rate * self.items


@dataclass(frozen=True)
class Effect:
    """The difference between two rates on the same items and seeds, with a 95% Newcombe interval.

    The interval assumes independent samples, so it is conservative for these paired ones.

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
    """The rate of hits, with an interval over items.

    Args:
        hits: `[cell]`.
        design: The design of the cells.

    Returns:
        The rate; the cells of an item are averaged first.

    >>> import numpy as np
    >>> rate_of(np.array([True, False, True, True]), Design.crossed(["a", "b"], (0, 1))).rate
    0.75
    """
    means = design.item_means(hits)
    # Over items, not cells: the seeds of an item are not independent of each other.
    interval = wilson(float(means.sum()), len(means))
    return Rate(float(means.mean()), *interval, len(means))


def effect_of(after: Rate, before: Rate) -> Effect:
    """How much a condition raises a rate.

    Args:
        after: The rate under the condition.
        before: The rate under the reference.

    Returns:
        `after` minus `before`, with its interval.

    Raises:
        EvidenceError: The two rates have different numbers of items.

    Source: Newcombe 1998, method 10.

    >>> effect_of(Rate(0.5, 0.3, 0.7, 10), Rate(0.25, 0.1, 0.5, 10)).effect
    0.25
    """
    if after.items != before.items:
        raise EvidenceError(
            f"Rates over {after.items} and {before.items} items cannot be compared: both must be "
            "over the same items."
        )
    interval = newcombe(after.hits, after.items, before.hits, before.items)
    return Effect(after.rate - before.rate, *interval)
