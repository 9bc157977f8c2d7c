"""Side effects: what else changes in the pictures, in every class of every classifier.

    effects = side_effects_of(edited, unedited, {"lancet:subject": subject}, target)
    effects.within_bound        # True, False, or None: undecided
    effects.together_with()     # the classes that changed

That an edit changes nothing else cannot be shown, but that no class changes by more than a bound
can be, if there are enough items: the one-sided 95% limit of every class must lie within it. Since
all of them must, no correction for their number is due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clerestory.classifiers import Classifier
from clerestory.errors import EvidenceError
from clerestory.evaluation.rates import outcomes_of
from clerestory.reporting.intervals import format_interval
from clerestory.stats.rate_intervals import change_interval, change_p, reachable_limit

if TYPE_CHECKING:
    from clerestory.evaluation.comparison import LoadedTarget
    from clerestory.evaluation.engine import Drawing

__all__ = ["BOUND", "ClassChange", "SideEffects", "side_effects_of"]

BOUND = 0.2
"""Change of a rate up to which a side effect is accepted."""
LEVEL = 0.95


@dataclass(frozen=True)
class ClassChange:
    """The change of one class's rate between two drawings, with a 95% interval.

    Attributes:
        classifier: Name of the classifier.
        label: The class.
        change: Its rate after less its rate before.
        low: Lower limit of the interval.
        high: Upper limit of the interval.
        limit: One-sided 95% limit of the size of the change; of its rise or fall alone for another
            class of the target's classifier, see `side_effects_of`.
        p: Two-sided p of no change.
    """

    classifier: str
    label: str
    change: float
    low: float
    high: float
    limit: float
    p: float

    def __str__(self) -> str:
        change = format_interval(self.change, self.low, self.high, "+.2f")
        return f"{self.classifier}={self.label} {change}"


@dataclass(frozen=True)
class SideEffects:
    """The changes of all classes except the target's.

    Attributes:
        changes: Every class of every classifier, in their order.
        bound: Change of a rate up to which a side effect is accepted.
        reachable: Smallest bound that this design can show: the limit of a class that does not
            change is within it in about 9 of 10 drawings. It depends on the rates before.
        items: Number of items.
        pictures: Number of pictures in each of the two drawings.
    """

    changes: tuple[ClassChange, ...]
    bound: float
    reachable: float
    items: int
    pictures: int

    @property
    def largest(self) -> ClassChange | None:
        """The class with the largest limit; None without classes."""
        return max(self.changes, key=lambda change: change.limit, default=None)

    @property
    def within_bound(self) -> bool | None:
        """Whether every class changes by less than the bound.

        True if the limit of every class is within the bound, False if the interval of some class
        lies beyond it, and None, undecided, otherwise: also without any class.
        """
        if not self.changes:
            return None
        if all(change.limit <= self.bound for change in self.changes):
            return True
        # A class whose limit is within the bound may fall without being a side effect.
        beyond = any(
            max(change.low, -change.high) > self.bound and change.limit > self.bound
            for change in self.changes
        )
        return False if beyond else None

    def together_with(self, level: float = 0.05) -> tuple[ClassChange, ...]:
        """The classes that change, at a level that holds for all of them together.

        Args:
            level: Chance that any class is listed if none changes.

        Returns:
            The classes whose Bonferroni interval excludes 0, the largest change first.
        """
        # The limit of a change that is no side effect, see `side_effects_of`, is below 0.
        changed = [
            change
            for change in self.changes
            # Bonferroni, since the claim names each class by itself.
            if change.p * len(self.changes) <= level and change.limit > 0
        ]
        return tuple(sorted(changed, key=lambda change: -abs(change.change)))


def side_effects_of(
    after: Drawing,
    before: Drawing,
    classifiers: Mapping[str, Classifier],
    target: LoadedTarget | None = None,
    *,
    rises: bool = True,
    bound: float = BOUND,
) -> SideEffects:
    """Measure the changes of all classes between two drawings.

    When the target's rate rises, the other classes of its classifier must fall. So the target's
    class is left out, also the other one of two, and of other classes of that classifier only a
    change in the target's own direction is a side effect.

    Args:
        after: The drawing with an edit.
        before: The drawing without it, of the same items, templates and seeds.
        classifiers: Classifiers by name; the target's may be among them.
        target: The class that the edit is meant to change; None for none.
        rises: Whether the edit is meant to raise the target's rate, or to lower it.
        bound: Change of a rate up to which a side effect is accepted.

    Returns:
        The changes; none if no class is left.

    Raises:
        EvidenceError: There are fewer than two items, or the bound is not between 0 and 1.
    """
    if not 0 < bound < 1:
        raise EvidenceError(f"The bound of side effects is {bound:g}; it must be between 0 and 1.")
    changes: list[ClassChange] = []
    reachable = 0.0
    for name, classifier in classifiers.items():
        is_target = target is not None and classifier.source == target.classifier.source
        kept = list(classifier.classes)
        if is_target and target is not None:
            # Of two classes the other one's rate is 1 less the target's: it tells nothing more.
            kept = [label for label in kept if label != target.label] if len(kept) > 2 else []
        if not kept:
            continue
        # Where the target takes the place of other classes, their fall is
        # its rise, not a side effect.
        direction = (1 if rises else -1) if is_target else 0
        class_changes, limit = _class_changes(after, before, name, classifier, kept, direction)
        changes += class_changes
        # The worst class: all of them have to pass.
        reachable = max(reachable, limit)
    design = after.design
    return SideEffects(tuple(changes), bound, reachable, len(design.items), len(design))


def _class_changes(
    after: Drawing,
    before: Drawing,
    name: str,
    classifier: Classifier,
    labels: Sequence[str],
    direction: int,
) -> tuple[list[ClassChange], float]:
    """The changes of some classes of a classifier, and the largest reachable limit.

    `direction` is 1 or −1 where only a rise or a fall is a side effect, and 0 where both are.
    """
    # All labels in one array, since intervals are computed for many labels at once.
    indices = [list(classifier.classes).index(label) for label in labels]
    templates = len(after.design.templates) > 1
    sides = [
        outcomes_of(drawing.predictions(classifier)[:, None] == indices, after.design)
        for drawing in (after, before)
    ]
    low, high = change_interval(*sides, templates=templates)
    # The limits of a 90% interval are those of one-sided 95% intervals.
    least, most = change_interval(*sides, templates=templates, level=2 * LEVEL - 1)
    # A fall of another class is expected where the target rises, so only
    # its rise counts; else both.
    limits = {1: most, -1: -least, 0: np.maximum(most, -least)}[direction]
    p = change_p(*sides, templates=templates)
    means = [outcomes.mean((0, 1, 2)) for outcomes in sides]
    columns = (means[0] - means[1], low, high, limits, p)
    changes = [
        ClassChange(name, label, *map(float, row))
        for label, *row in zip(labels, *columns, strict=True)
    ]
    return changes, float(reachable_limit(*sides, templates=templates, level=LEVEL).max())
