"""Conditions compared on the same items and seeds: the target's rate, and what else changes.

    panel = Panel.open("lancet:style", "stained glass")
    conditions = [Condition("unedited"), Condition("words", "a stained glass of {item}")]
    plain, words = compare_conditions(Evaluator(model), conditions, design, panel)
    words.target.rate, words.preservation["subject"].rate

The first condition is the reference: preservation counts where a classifier predicts the same of
both pictures of one cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from clerestory.classifiers import Classifier, ClassifierHead, factor_of, load_classifier
from clerestory.errors import EvidenceError, RegistryError
from clerestory.evaluation.conditions import Condition, Design
from clerestory.evaluation.engine import Drawing, Evaluator
from clerestory.evaluation.rates import Effect, Rate, effect_of
from clerestory.registry import suggest
from clerestory.stats import frechet_distance
from clerestory.types import Floats, Pictures, Role

__all__ = ["OpenTarget", "Outcome", "Panel", "compare_conditions", "compare_drawings", "open_label"]

MIN_ITEMS = 2
"""A single item has no variance."""


class OpenTarget(NamedTuple):
    """A loaded classifier and one of its labels."""

    classifier: Classifier
    label: str


def open_label(name: str, label: str, role: Role = "evaluation") -> OpenTarget:
    """Open a classifier and check that it has a class.

    Args:
        name: The classifier, such as `lancet:style`.
        label: The class, such as `stained glass`.
        role: Which of two classifiers of that name.

    Returns:
        The opened classifier and the label.

    Raises:
        RegistryError: There is no such classifier, or it has no such class.
    """
    opened = load_classifier(name, role=role)
    if label not in opened.classes:
        raise RegistryError(f"{name} has no class {label!r}.{suggest(label, opened.classes)}")
    return OpenTarget(opened, label)


@dataclass(frozen=True, eq=False)
class Panel:
    """The classifiers used in a comparison.

    Attributes:
        target: The class whose rate is compared.
        preserved: Classifiers whose predictions should not change, by name.
        hard_negative: A class that should not come with the target.
    """

    target: OpenTarget
    preserved: Mapping[str, Classifier] = field(default_factory=dict)
    hard_negative: OpenTarget | None = None

    @classmethod
    def open(
        cls,
        name: str,
        label: str,
        *,
        role: Role = "evaluation",
        preserved: Sequence[str] | None = None,
        hard_negative: tuple[str, str] | None = None,
    ) -> Panel:
        """Open classifiers by name.

        Args:
            name: The target's classifier.
            label: The target's class.
            role: Which of two classifiers of each name.
            preserved: Names of classifiers whose predictions should not change; by default those
                that come with the target's.
            hard_negative: A classifier's name and its class.

        Returns:
            The panel.

        Raises:
            RegistryError: There is no such classifier, or it has no such class.
        """
        target = open_label(name, label, role)
        if preserved is None:
            head = target.classifier
            preserved = head.companions if isinstance(head, ClassifierHead) else ()
        against = None if hard_negative is None else open_label(*hard_negative, role)
        opened = {
            other: load_classifier(other, role=role)
            for other in preserved
            # What the hard negative's classifier sees has a figure of its own.
            if hard_negative is None or other != hard_negative[0]
        }
        return cls(target, {factor_of(*pair): pair[1] for pair in opened.items()}, against)

    @property
    def has_features(self) -> bool:
        """Whether the target's classifier gives features, for Fréchet distances."""
        return isinstance(self.target.classifier, ClassifierHead)

    def feature_moments(self, pictures: Pictures) -> tuple[Floats, Floats] | None:
        """Mean and covariance of the features of pictures; None without features.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            The mean `[feature]` and the covariance `[feature, feature]`; None where the target's
            classifier gives no features.
        """
        if not isinstance(self.target.classifier, ClassifierHead):
            return None
        # float64: a covariance in single precision loses digits that the distance needs.
        features = self.target.classifier.features(pictures).astype(np.float64)
        return features.mean(0), np.cov(features, rowvar=False)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one condition does, compared with the reference.

    Attributes:
        name: The condition's name.
        target: The rate of the target's class.
        preservation: How often each other classifier predicts the same as of the reference.
        distance: Root mean square difference from the reference's pictures, 0 to 1.
        hard_negative: The rate of the hard negative's class; None without one.
        hard_negative_effect: The same less the reference's.
        frechet: Fréchet distance from the features of another condition's pictures; None where
            none was named, or the classifier has no features.
        pictures: `[item, template × seed, height, width, 3]`.
    """

    name: str
    target: Rate
    preservation: Mapping[str, Rate]
    distance: float
    hard_negative: Rate | None
    hard_negative_effect: Effect | None
    frechet: float | None
    pictures: Pictures = field(repr=False)

    @property
    def mean_preservation(self) -> float | None:
        """The mean over classifiers; None where there are none."""
        rates = [rate.rate for rate in self.preservation.values()]
        return float(np.mean(rates)) if rates else None

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""

        def plain(value: Rate | Effect | None) -> dict[str, Any] | None:
            return None if value is None else asdict(value)

        return {
            "name": self.name,
            "target": plain(self.target),
            "preservation": {name: plain(rate) for name, rate in self.preservation.items()},
            "mean_preservation": self.mean_preservation,
            "distance": self.distance,
            "hard_negative": plain(self.hard_negative),
            "hard_negative_effect": plain(self.hard_negative_effect),
            "frechet": self.frechet,
        }


def compare_conditions(
    evaluator: Evaluator,
    conditions: Sequence[Condition],
    design: Design,
    panel: Panel,
    *,
    frechet_to: str | None = None,
    description: str = "drawing",
) -> list[Outcome]:
    """Draw conditions on the same items and seeds, and compare them with the first.

    Args:
        evaluator: What draws.
        conditions: The reference first.
        design: Items and seeds.
        panel: The classifiers.
        frechet_to: The condition whose pictures Fréchet distances are from.
        description: The label of the progress.

    Returns:
        An outcome for each condition, in their order.

    Raises:
        EvidenceError: There are fewer than two different items.
    """
    # Different ones: an item that is named twice is drawn twice, but is no second replicate.
    if len(set(design.items)) < MIN_ITEMS:
        raise EvidenceError(
            f"At least two different items are needed; got {len(set(design.items))}."
        )
    drawings = evaluator.draw(conditions, design, description=description)
    return compare_drawings(panel, drawings, frechet_to=frechet_to)


def compare_drawings(
    panel: Panel, drawings: Sequence[Drawing], *, frechet_to: str | None = None
) -> list[Outcome]:
    """Compare what was drawn with the first of it.

    Args:
        panel: The classifiers.
        drawings: The reference first, all of one design.
        frechet_to: The condition whose pictures Fréchet distances are from.

    Returns:
        An outcome for each drawing, in their order.
    """
    # Once for all drawings: the features of the reference take a run of the network.
    moments = None
    if frechet_to is not None:
        named = {drawing.condition.name: drawing for drawing in drawings}
        moments = panel.feature_moments(named[frechet_to].pictures)
    return [_outcome(panel, drawing, drawings[0], moments) for drawing in drawings]


def _outcome(
    panel: Panel, drawing: Drawing, reference: Drawing, moments: tuple[Floats, Floats] | None
) -> Outcome:
    hard_negative_rate = None if panel.hard_negative is None else drawing.rate(*panel.hard_negative)
    features = None if moments is None else panel.feature_moments(drawing.pictures)
    return Outcome(
        name=drawing.condition.name,
        target=drawing.rate(*panel.target),
        preservation={
            name: drawing.preserved(reference, classifier)
            for name, classifier in panel.preserved.items()
        },
        distance=drawing.distance(reference),
        hard_negative=hard_negative_rate,
        hard_negative_effect=None
        if hard_negative_rate is None or panel.hard_negative is None
        else effect_of(hard_negative_rate, reference.rate(*panel.hard_negative)),
        frechet=None
        if moments is None or features is None
        else frechet_distance(features, moments),
        pictures=drawing.by_item,
    )
