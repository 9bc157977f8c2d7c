"""Compares conditions on the same items and seeds: the target's rate, and side effects.

    panel = Panel.load("lancet:style", "stained glass")
    conditions = [Condition("unedited"), Condition("words", "a stained glass of {item}")]
    plain, words = compare_conditions(Evaluator(model), conditions, design, panel)
    words.target.rate, words.preservation["subject"].rate

The first condition is the reference. Preservation is the share of cells in which a classifier
predicts the same class for the reference's picture and for the condition's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from clerestory.classifiers import Classifier, ClassifierHead, factor_of, load_classifier
from clerestory.classifiers.base import classifier_name
from clerestory.errors import EvidenceError, RegistryError
from clerestory.evaluation.conditions import Condition, Design
from clerestory.evaluation.engine import Drawing, Evaluator
from clerestory.evaluation.rates import Effect, Rate
from clerestory.registry import suggest
from clerestory.stats import frechet_distance
from clerestory.types import Floats, Pictures, Role

__all__ = [
    "LoadedTarget",
    "Outcome",
    "Panel",
    "compare_conditions",
    "compare_drawings",
    "load_preserved",
    "load_target",
]

MIN_ITEMS = 2
"""Items below which nothing is compared: a single item has no variance."""


class LoadedTarget(NamedTuple):
    """A classifier and the class whose rate is measured.

    Attributes:
        classifier: The classifier.
        label: One of its classes.
    """

    classifier: Classifier
    label: str


def load_target(
    classifier: str | Classifier | Callable[..., Any], label: str, role: Role = "evaluation"
) -> LoadedTarget:
    """Load a classifier and check that it has a class.

    Args:
        classifier: A classifier, a function with an attribute `classes`, or a name, such as
            `lancet:style`.
        label: The class, such as `stained glass`.
        role: Which of two classifiers of that name to load.

    Returns:
        The classifier and the label.

    Raises:
        RegistryError: There is no such classifier, or it has no such class.
    """
    if isinstance(classifier, Classifier):
        name, loaded = classifier.source, classifier
    else:
        name, loaded = classifier_name(classifier), load_classifier(classifier, role=role)
    if label not in loaded.classes:
        raise RegistryError(f"{name} has no class {label!r}.{suggest(label, loaded.classes)}")
    return LoadedTarget(loaded, label)


def load_preserved(
    classifier: Classifier, names: Sequence[str] | None = None, role: Role = "evaluation"
) -> dict[str, Classifier]:
    """Load the classifiers that measure side effects, those whose predictions should not change.

    Args:
        classifier: The classifier of the target.
        names: Names of classifiers; by default the other heads of the target's network, if it has
            any.
        role: Which of two classifiers of each name to load.

    Returns:
        The classifiers by name.

    Raises:
        RegistryError: There is no such classifier.
    """
    if names is None:
        # The other heads of one network share its features: they cost no further run.
        names = classifier.companions if isinstance(classifier, ClassifierHead) else ()
    return {name: load_classifier(name, role=role) for name in names}


@dataclass(frozen=True, eq=False)
class Panel:
    """The classifiers used in a comparison.

    Attributes:
        target: The class whose rate is compared.
        preserved: Classifiers whose predictions should not change, by short name.
        hard_negative: A class that resembles the target and should not rise with it.
    """

    target: LoadedTarget
    preserved: Mapping[str, Classifier] = field(default_factory=dict)
    hard_negative: LoadedTarget | None = None

    @classmethod
    def load(
        cls,
        name: str,
        label: str,
        *,
        role: Role = "evaluation",
        preserved: Sequence[str] | None = None,
        hard_negative: tuple[str, str] | None = None,
    ) -> Panel:
        """Load classifiers by name.

        Args:
            name: The classifier of the target.
            label: The class of the target.
            role: Which of two classifiers of each name to load.
            preserved: Names of classifiers whose predictions should not change; by default the
                other heads of the target's network, if it has any.
            hard_negative: The name of a classifier and one of its classes.

        Returns:
            The panel.

        Raises:
            RegistryError: There is no such classifier, or it has no such class.
        """
        target = load_target(name, label, role)
        classifiers = load_preserved(target.classifier, preserved, role)
        hard_negative_target = None
        if hard_negative is not None:
            hard_negative_target = load_target(*hard_negative, role)
            # An outcome reports the rate of the hard negative separately.
            classifiers.pop(hard_negative[0], None)
        return cls(
            target,
            {factor_of(name, classifier): classifier for name, classifier in classifiers.items()},
            hard_negative_target,
        )

    @property
    def has_features(self) -> bool:
        """Whether the target's classifier has features, from which Fréchet distances are made."""
        return isinstance(self.target.classifier, ClassifierHead)

    def feature_moments(self, pictures: Pictures) -> tuple[Floats, Floats] | None:
        """Mean and covariance of the features of pictures.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            The mean `[feature]` and the covariance `[feature, feature]`; None if the target's
            classifier has no features.
        """
        if not isinstance(self.target.classifier, ClassifierHead):
            return None
        # float64: a covariance in single precision loses digits that the distance needs.
        features = self.target.classifier.features(pictures).astype(np.float64)
        return features.mean(0), np.cov(features, rowvar=False)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The figures of one condition, compared with the reference.

    Attributes:
        name: Name of the condition.
        target: Rate of the target's class.
        preservation: For each preserved classifier, the rate of cells in which it predicts the same
            class as for the reference.
        distance: Root mean square difference from the reference's pictures, 0 to 1.
        hard_negative: Rate of the hard negative's class; None without a hard negative.
        hard_negative_effect: Change of that rate from the reference; None without a hard negative.
        frechet: Fréchet distance to the pictures of the condition `frechet_to`; None if no such
            condition was named, or the classifier has no features.
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
        """Mean of `preservation` over classifiers; None if there are none."""
        rates = [rate.rate for rate in self.preservation.values()]
        return float(np.mean(rates)) if rates else None

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""

        def optional_dict(value: Rate | Effect | None) -> dict[str, Any] | None:
            return None if value is None else asdict(value)

        return {
            "name": self.name,
            "target": optional_dict(self.target),
            "preservation": {name: optional_dict(rate) for name, rate in self.preservation.items()},
            "mean_preservation": self.mean_preservation,
            "distance": self.distance,
            "hard_negative": optional_dict(self.hard_negative),
            "hard_negative_effect": optional_dict(self.hard_negative_effect),
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
        evaluator: Draws the conditions.
        conditions: The reference, then the others.
        design: Items, templates and seeds.
        panel: The classifiers.
        frechet_to: Name of the condition to whose pictures Fréchet distances are computed.
        description: Label of the progress.

    Returns:
        An outcome for each condition, in their order.

    Raises:
        EvidenceError: There are fewer than two distinct items.
    """
    # An item that occurs twice is drawn twice, but is not a second replicate.
    # Counted before drawing, which takes minutes.
    distinct = len(set(design.items))
    if distinct < MIN_ITEMS:
        raise EvidenceError(f"At least {MIN_ITEMS} distinct items are needed; got {distinct}.")
    drawings = evaluator.draw(conditions, design, description=description)
    return compare_drawings(panel, drawings, frechet_to=frechet_to)


def compare_drawings(
    panel: Panel, drawings: Sequence[Drawing], *, frechet_to: str | None = None
) -> list[Outcome]:
    """Compare drawings with the first of them.

    Args:
        panel: The classifiers.
        drawings: The reference, then the others, all of one design.
        frechet_to: Name of the condition to whose pictures Fréchet distances are computed.

    Returns:
        An outcome for each drawing, in their order.
    """
    # Computed once for all drawings, since features take a run of the network.
    frechet_moments = None
    if frechet_to is not None:
        by_name = {drawing.condition.name: drawing for drawing in drawings}
        frechet_moments = panel.feature_moments(by_name[frechet_to].pictures)
    return [_outcome(panel, drawing, drawings[0], frechet_moments) for drawing in drawings]


def _outcome(
    panel: Panel,
    drawing: Drawing,
    reference: Drawing,
    frechet_moments: tuple[Floats, Floats] | None,
) -> Outcome:
    hard_negative = hard_negative_effect = frechet = None
    if panel.hard_negative is not None:
        hard_negative = drawing.rate(*panel.hard_negative)
        hard_negative_effect = drawing.effect(reference, *panel.hard_negative)
    moments = None if frechet_moments is None else panel.feature_moments(drawing.pictures)
    if moments is not None and frechet_moments is not None:
        frechet = frechet_distance(moments, frechet_moments)
    return Outcome(
        name=drawing.condition.name,
        target=drawing.rate(*panel.target),
        # Of the same cells as the reference: a share of pictures whose prediction stays.
        preservation={
            name: drawing.preservation(reference, classifier)
            for name, classifier in panel.preserved.items()
        },
        distance=drawing.distance(reference),
        hard_negative=hard_negative,
        hard_negative_effect=hard_negative_effect,
        frechet=frechet,
        pictures=drawing.pictures_by_item,
    )
