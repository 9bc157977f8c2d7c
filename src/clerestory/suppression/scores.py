"""Scores: how much of the unwanted is left, what is preserved, and what else changes.

The paraphrase is the replicate; the seeds of a paraphrase are averaged first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.attribution import SegmentedPrompt
from clerestory.classifiers import Classifier, load_classifier
from clerestory.evaluation import Condition, Design, Drawing, Evaluator
from clerestory.suppression.association import Association, Target
from clerestory.types import Floats, Role

__all__ = ["Effects", "Half", "Score", "score"]

RESAMPLES = 2_000
MIN_EXCESS = 1e-9
"""A smaller excess is a rounding error."""
BEFORE, CONTROL = "before", "control"


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What a condition changes, compared with the prompt as it is and with its control.

    Attributes:
        preservation: The rate of the preserved label that fares worst, as a share of its rate
            before; None where none was drawn before.
        reduction: The share of the excess over the control that is gone, with its 95% interval;
            None where there was no excess.
        side_effects: How often the other classifiers predict something else than before; None
            without such classifiers.
        distance: Root mean square difference from the pictures before, 0 to 1.
        rates: The rate of every label.
    """

    preservation: float | None
    reduction: float | None
    reduction_low: float | None
    reduction_high: float | None
    side_effects: float | None
    distance: float
    rates: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Score(Effects):
    """The effects of a condition, with what settings are chosen by.

    Attributes:
        unwanted: Mean rate of the unwanted labels.
        preserved: Mean rate of the preserved labels.
        objective: The product of `reduction` and `preservation`, each at most 1.
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
        seeds: Sequence[int],
        role: Role,
    ) -> None:
        """Draw the references.

        Args:
            evaluator: Draws.
            association: What is to be counteracted.
            paraphrases: The sentences of this half.
            seeds: For selection one seed per paraphrase, for evaluation those of every paraphrase.
            role: Which classifiers to use.
        """
        self.evaluator, self.association, self.role = evaluator, association, role
        self.classifiers = {
            name: load_classifier(name, role=role) for name in association.classifiers
        }
        texts = [each.full_text for each in paraphrases]
        controls = [each.text_without_pieces() for each in paraphrases]
        # Settings are many: on the selection half each paraphrase has a single seed, and
        # paraphrases have different ones.
        design = Design.paired if role == "selection" else Design.crossed
        self.design = design(texts, seeds)
        (self.before,) = evaluator.draw([Condition(BEFORE)], self.design)
        (self.control,) = evaluator.draw([Condition(CONTROL)], design(controls, seeds))

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

    def rates(of: Drawing, targets: Sequence[Target]) -> tuple[Floats, Floats]:
        """`[item, label]`: how often each label is the likeliest, and its mean probability."""
        hits, probabilities = [], []
        for name, label in targets:
            classifier = classifiers[name]
            hits.append(of.design.item_means(of.hits(classifier, label)))
            column = of.probabilities(classifier)[:, classifier.classes.index(label)]
            probabilities.append(of.design.item_means(column))
        return np.stack(hits, axis=1), np.stack(probabilities, axis=1).astype(np.float64)

    # Each a pair of rates and probabilities.
    unwanted, preserved = (
        rates(drawing, targets) for targets in (association.unwanted, association.preserved)
    )
    unwanted_before, preserved_before = (
        rates(before, targets) for targets in (association.unwanted, association.preserved)
    )
    unwanted_control = rates(control, association.unwanted)
    reduction = _reduction(unwanted_before[0], unwanted_control[0], unwanted[0])
    preservation = _preservation(preserved_before[0], preserved[0])
    low, high = None, None
    if reduction is not None:
        low, high = _reduction_interval(unwanted_before[0], unwanted_control[0], unwanted[0])
    same = [drawing.same_as(before, classifiers[name]) for name in association.side_effects]
    means = [*unwanted[0].mean(0).tolist(), *preserved[0].mean(0).tolist()]
    return Score(
        unwanted=float(unwanted[0].mean()),
        preserved=float(preserved[0].mean()),
        preservation=preservation,
        reduction=reduction,
        reduction_low=low,
        reduction_high=high,
        side_effects=1 - float(np.mean(same)) if same else None,
        distance=drawing.distance(before),
        rates={str(t): rate for t, rate in zip(association.targets, means, strict=True)},
        objective=_objective(reduction, preservation),
        certainty=_objective(
            _reduction(unwanted_before[1], unwanted_control[1], unwanted[1]),
            _preservation(preserved_before[1], preserved[1]),
        ),
    )


def _reduction(before: Floats, control: Floats, after: Floats) -> float | None:
    """The share of the excess over the control that is gone; None without an excess."""
    excess = float((before - control).mean())
    return float((before - after).mean()) / excess if excess > MIN_EXCESS else None


def _reduction_interval(before: Floats, control: Floats, after: Floats) -> tuple[float, float]:
    """Both ends of a 95% interval of the reduction, by bootstrap over items.

    The same items are resampled of all three, so that the excess and its reduction vary together.
    Resamples without an excess have no reduction and are left out.
    """
    count = len(before)
    rng = np.random.default_rng(0)
    # A resample of items is a multinomial draw of their counts: one matrix product does them all.
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    removed, excess = weights @ (before - after).mean(1), weights @ (before - control).mean(1)
    # A resample without an excess has no share of it: the quotient would be huge or negative.
    valid = excess > MIN_EXCESS
    low, high = np.quantile(removed[valid] / excess[valid], [0.025, 0.975])
    return float(low), float(high)


def _preservation(before: Floats, after: Floats) -> float | None:
    """The least share of its rate before that a label has, of those that were drawn before."""
    rates_before, rates = before.mean(0), after.mean(0)
    drawn = rates_before > 0
    return float((rates[drawn] / rates_before[drawn]).min()) if drawn.any() else None


def _objective(reduction: float | None, preservation: float | None) -> float:
    # Each factor is cut at 1, so that more reduction than needed does not pay for lost
    # preservation.
    return max(min(reduction or 0.0, 1.0), 0.0) * min(preservation or 0.0, 1.0)
