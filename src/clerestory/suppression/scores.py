"""Scores: how much of the unwanted is left, what is preserved, and what else changes.

The sentence is the replicate, and each has seeds of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from clerestory.attribution import SegmentedPrompt
from clerestory.classifiers import Classifier, Target, load_classifier
from clerestory.evaluation import (
    Condition,
    Design,
    Drawing,
    Evaluator,
    LoadedTarget,
    SideEffects,
    side_effects_of,
)
from clerestory.stats.rate_intervals import change_interval
from clerestory.suppression.association import Association
from clerestory.types import Floats, Role

__all__ = ["Effects", "Half", "Score", "reduction_interval", "score", "side_effects"]

MIN_EXCESS = 1e-9
"""A smaller excess is a rounding error."""
REDUCTIONS = np.linspace(-1, 2, 601)
"""Reductions that are tried as limits; an interval reaches no further."""
BEFORE, CONTROL = "before", "control"


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What a condition changes, compared with the prompt as it is and with its control.

    Attributes:
        preservation: 1 less the largest change of the rate of any class of any classifier that is
            no reduction of the unwanted: everything in the picture counts, whether it was named or
            not. None without such classes.
        named_preservation: The rate of the preserved label that fares worst, as a share of its rate
            before; None where none was drawn before.
        reduction: The share of the excess over the control that is gone, with its 95% interval
            between -1 and 2; None where there was no excess.
        changed: How often the classifiers other than those of unwanted labels predict something
            else than before; None without such classifiers.
        distance: Root mean square difference from the pictures before, 0 to 1.
        rates: The rate of every label.
    """

    preservation: float | None
    named_preservation: float | None
    reduction: float | None
    reduction_low: float | None
    reduction_high: float | None
    changed: float | None
    distance: float
    rates: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Score(Effects):
    """The effects of a condition, with what settings are chosen by.

    Attributes:
        unwanted: Mean rate of the unwanted labels.
        preserved: Mean rate of the preserved labels.
        objective: The product of `reduction` and the lesser preservation, each at most 1.
        certainty: The same computed from probabilities instead of rates.
    """

    unwanted: float
    preserved: float
    objective: float
    certainty: float


class Half:
    """The paraphrases of one half, drawn as they are and as controls.

    Attributes:
        association: What is to be counteracted.
        classifiers: Those of the half's role, by name.
        design: The paraphrases and their seeds.
        before: The paraphrases as they are.
        control: The paraphrases with baselines in place of what is preserved.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        association: Association,
        paraphrases: Sequence[SegmentedPrompt],
        seeds: Sequence[tuple[int, ...]],
        role: Role,
    ) -> None:
        """Draw the references.

        Args:
            evaluator: Draws.
            association: What is to be counteracted.
            paraphrases: The sentences of this half.
            seeds: Those of each sentence, which its control shares.
            role: Which classifiers to use.
        """
        self.evaluator, self.association, self.role = evaluator, association, role
        self.classifiers = {
            name: load_classifier(name, role=role) for name in association.classifiers
        }
        texts = [each.full_text for each in paraphrases]
        controls = [each.text_without_pieces() for each in paraphrases]
        self.design = Design(tuple(texts), tuple(seeds))
        (self.before,) = evaluator.draw([Condition(BEFORE)], self.design)
        # With the seeds of the prompts beside them, so that both differ by the pieces alone.
        (self.control,) = evaluator.draw(
            [Condition(CONTROL)], Design(tuple(controls), tuple(seeds))
        )

    def score(self, drawing: Drawing) -> Score:
        """Score a drawing of this half's design.

        Args:
            drawing: A drawing of the half's items and seeds.

        Returns:
            Its score beside the half's own references.
        """
        return score(self.association, self.classifiers, drawing, self.before, self.control)

    def alternatives(self) -> tuple[Target, ...]:
        """For each unwanted label's classifier the label that the control shows most instead."""
        unwanted, alternatives = set(self.association.unwanted), []
        for name in dict.fromkeys(target.classifier for target in self.association.unwanted):
            classifier = self.classifiers[name]
            predictions = self.control.predictions(classifier)
            # Ties go to the label that came first: the order of pictures is fixed.
            counts = Counter(classifier.classes[index] for index in predictions)
            labels = [
                label
                for label, _ in counts.most_common()
                # "none" means that the classifier recognises nothing: a prompt has no words for it.
                if label != "none" and Target(name, label) not in unwanted
            ]
            alternatives += [Target(name, label) for label in labels[:1]]
        return tuple(alternatives)

    def problems(self) -> list[str]:
        """Why nothing can be counteracted, and which preserved labels are never drawn."""
        before, control = self.score(self.before), self.score(self.control)
        problems = []
        if before.reduction is None:
            problems.append(
                f"By the {self.role} classifiers the prompt shows the unwanted in "
                f"{before.unwanted:.0%} of its pictures and the control in {control.unwanted:.0%}: "
                "there is nothing to counteract."
            )
        return problems + [
            f"By the {self.role} classifiers the prompt never draws {target}, so its preservation "
            "is unknown."
            for target in self.association.preserved
            if before.rates[str(target)] == 0
        ]


def score(
    association: Association,
    classifiers: Mapping[str, Classifier],
    drawing: Drawing,
    before: Drawing,
    control: Drawing,
) -> Score:
    """Compare a drawing with the prompt as it is, and with its control.

    Args:
        association: What is to be counteracted.
        classifiers: Open classifiers by name.
        drawing: Any drawing of the same design as `before`.
        before: The prompt as it is.
        control: The control, with the same number of items and seeds.

    Returns:
        The figures over items, seeds averaged first.
    """
    unwanted, unwanted_before, unwanted_control = (
        _label_rates(each, classifiers, association.unwanted) for each in (drawing, before, control)
    )
    preserved, preserved_before = (
        _label_rates(each, classifiers, association.preserved) for each in (drawing, before)
    )
    reduction = _reduction(unwanted_before.rates, unwanted_control.rates, unwanted.rates)
    named = _preservation(preserved_before.rates, preserved.rates)
    likely = _preservation(preserved_before.probabilities, preserved.probabilities)
    low, high = None, None
    # Without an excess, a share of it has no interval either.
    if reduction is not None:
        outcomes = [
            _outcomes(each, classifiers, association.unwanted)
            for each in (before, control, drawing)
        ]
        low, high = reduction_interval(*outcomes)
    preservation, certain_preservation = _class_preservation(
        association, classifiers, drawing, before
    )
    others = {target.classifier for target in association.unwanted}
    same = [
        drawing.same_as(before, classifier)
        for name, classifier in classifiers.items()
        if name not in others
    ]
    means = [*unwanted.rates.mean(0).tolist(), *preserved.rates.mean(0).tolist()]
    return Score(
        unwanted=float(unwanted.rates.mean()),
        preserved=float(preserved.rates.mean()),
        preservation=preservation,
        named_preservation=named,
        reduction=reduction,
        reduction_low=low,
        reduction_high=high,
        changed=1 - float(np.mean(same)) if same else None,
        distance=drawing.distance(before),
        rates={str(t): rate for t, rate in zip(association.targets, means, strict=True)},
        objective=_objective(reduction, named, preservation),
        certainty=_objective(
            _reduction(
                unwanted_before.probabilities,
                unwanted_control.probabilities,
                unwanted.probabilities,
            ),
            likely,
            certain_preservation,
        ),
    )


class _LabelRates(NamedTuple):
    """`[item, label]`: how often each label is the likeliest, and its mean probability."""

    rates: Floats
    probabilities: Floats


def _label_rates(
    drawing: Drawing, classifiers: Mapping[str, Classifier], targets: Sequence[Target]
) -> _LabelRates:
    hits, probabilities = [], []
    for name, label in targets:
        classifier = classifiers[name]
        hits.append(drawing.design.item_means(drawing.hits(classifier, label)))
        column = drawing.probabilities(classifier)[:, classifier.classes.index(label)]
        probabilities.append(drawing.design.item_means(column))
    return _LabelRates(np.stack(hits, axis=1), np.stack(probabilities, axis=1).astype(np.float64))


def side_effects(
    association: Association,
    classifiers: Mapping[str, Classifier],
    drawing: Drawing,
    before: Drawing,
    bound: float,
) -> SideEffects:
    """The changes of every class of every classifier, except the unwanted ones.

    What takes an unwanted label's place is another class of its classifier: of these a fall alone
    is a side effect.

    Args:
        association: What is to be counteracted.
        classifiers: Open classifiers by name.
        drawing: Any drawing of the same design as `before`.
        before: The prompt as it is.
        bound: Change of a rate up to which a side effect is accepted.

    Returns:
        The changes of all classes.
    """
    parts = []
    for name, classifier in classifiers.items():
        labels = _unwanted_labels(association, name)
        # One of them: it makes the classifier the target's, whose other classes may rise.
        target = LoadedTarget(classifier, labels[0]) if labels else None
        part = side_effects_of(
            drawing, before, {name: classifier}, target, rises=False, bound=bound
        )
        kept = tuple(change for change in part.changes if change.label not in labels)
        parts.append(replace(part, changes=kept))
    return replace(
        parts[0],
        changes=tuple(change for part in parts for change in part.changes),
        reachable=max(part.reachable for part in parts),
    )


def _unwanted_labels(association: Association, classifier: str) -> list[str]:
    """The unwanted labels of a classifier."""
    return [label for name, label in association.unwanted if name == classifier]


def _class_preservation(
    association: Association,
    classifiers: Mapping[str, Classifier],
    drawing: Drawing,
    before: Drawing,
) -> tuple[float | None, float | None]:
    """1 less the largest change of any class, of rates and of probabilities; None without one."""
    changes = [
        _largest_changes(association, name, classifier, drawing, before)
        for name, classifier in classifiers.items()
    ]
    rates, probabilities = ([pair[part] for pair in changes if pair is not None] for part in (0, 1))
    return (1 - max(rates), 1 - max(probabilities)) if rates else (None, None)


def _largest_changes(
    association: Association,
    name: str,
    classifier: Classifier,
    drawing: Drawing,
    before: Drawing,
) -> tuple[float, float] | None:
    """The largest change of a class's rate, and of its mean probability; None without classes.

    Classes count as in `side_effects`.
    """
    labels = _unwanted_labels(association, name)
    kept = [index for index, label in enumerate(classifier.classes) if label not in labels]
    if not kept or (labels and len(classifier.classes) == 2):
        return None
    sizes = []
    probabilities = [each.probabilities(classifier) for each in (drawing, before)]
    for after, reference in (
        [np.eye(values.shape[1])[values.argmax(1)] for values in probabilities],
        probabilities,
    ):
        change = (after.mean(0) - reference.mean(0))[kept]
        # Where the unwanted falls, others of its classifier rise in its
        # place: only a fall is a loss.
        sizes.append(float(np.max(-change if labels else np.abs(change))))
    # No class falls where the unwanted does not, and then nothing is lost.
    return max(sizes[0], 0.0), max(sizes[1], 0.0)


def _outcomes(
    drawing: Drawing, classifiers: Mapping[str, Classifier], targets: Sequence[Target]
) -> Floats:
    """`[item, seed]`: the share of the labels that are predicted in each picture."""
    hits = [drawing.hits(classifiers[name], label) for name, label in targets]
    return drawing.design.by_item(np.mean(hits, axis=0))


def reduction_interval(before: Floats, control: Floats, after: Floats) -> tuple[float, float]:
    """The 95% interval of the share of the excess over the control that is gone.

    A reduction is compatible with the outcomes where the interval of a difference of two rates
    includes 0: the rate after, and the rate that the reduction leaves, a mixture of the prompt's
    and the control's. So the quotient needs no assumption of its own, as in Fieller 1954.

    Args:
        before: Outcomes of the prompt between 0 and 1, `[item, seed]`.
        control: Outcomes of the control, of the same items and seeds.
        after: Outcomes with the method, of the same items and seeds.

    Returns:
        The lower and the upper limit, between -1 and 2.
    """
    r = REDUCTIONS
    before, control, after = (each[..., None] for each in (before, control, after))
    # before - after - r (before - control), with each side a mixture with weights of one sign.
    first = np.where(r < 0, before, np.where(r <= 1, (1 - r) * before + r * control, control))
    share = np.where(r < 0, 1 / (1 - np.minimum(r, 0)), 1 / np.maximum(r, 1))
    rest = np.where(r < 0, control, before)
    second = share * after + (1 - share) * rest
    low, high = change_interval(first, second)
    # Fieller 1954: a ratio r is compatible where before − after − r (before − control) may be 0.
    compatible = r[(low <= 0) & (high >= 0)]
    if not len(compatible):
        # All of the range is beyond the outcomes, on one side.
        end = float(r[-1] if (low > 0).all() else r[0])
        return end, end
    return float(compatible[0]), float(compatible[-1])


def _reduction(before: Floats, control: Floats, after: Floats) -> float | None:
    """The share of the excess over the control that is gone; None without an excess."""
    excess = float((before - control).mean())
    return float((before - after).mean()) / excess if excess > MIN_EXCESS else None


def _preservation(before: Floats, after: Floats) -> float | None:
    """The least share of its rate before that a label has, of those that were drawn before."""
    rates_before, rates = before.mean(0), after.mean(0)
    # A label that was never drawn cannot be lost.
    drawn = rates_before > 0
    return float((rates[drawn] / rates_before[drawn]).min()) if drawn.any() else None


def _objective(reduction: float | None, *preservation: float | None) -> float:
    # Each factor is cut at 1, so that more reduction than needed does not pay for lost
    # preservation.
    least = min((each for each in preservation if each is not None), default=0.0)
    # A named label that was never drawn has no preservation that could be chosen by.
    least = 0.0 if preservation[0] is None else least
    return max(min(reduction or 0.0, 1.0), 0.0) * max(min(least, 1.0), 0.0)
