"""How a way to counteract the unwanted came out: what is left of it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.classifiers import Classifier, classifier
from clerestory.evaluation import Drawing, Label, label_of
from clerestory.suppression.case import Case
from clerestory.types import Floats, Role

__all__ = ["Judged", "Judges", "judged", "same"]

DRAWS, LEAST = 2_000, 1e-9
"""Times that sentences are drawn anew; the least excess that is one, and not rounding."""


@dataclass(frozen=True, eq=False)
class Judges:
    """The classifiers of a case in one role, opened once.

    Attributes:
        unwanted: Classes that should go.
        kept: Classes that should stay.
        others: Classifiers of everything else, by name.
    """

    unwanted: tuple[Label, ...]
    kept: tuple[Label, ...]
    others: Mapping[str, Classifier]

    @classmethod
    def of(cls, case: Case, role: Role) -> Judges:
        """Open the classifiers that a case names."""
        return cls(
            tuple(label_of(name, label, role) for name, label in case.unwanted),
            tuple(label_of(name, label, role) for name, label in case.kept),
            {name: classifier(name, role=role) for name in case.others},
        )


@dataclass(frozen=True, eq=False)
class Judged:
    """What classifiers see, sentences being the replicates.

    `unwanted` and `kept` are mean rates over their classes, of the class that fares worst for
    `kept_share`, the share of the rate before; None where no class was drawn before. `drop` is the
    share of the unwanted's excess over the control that is gone, with its interval; None where
    there was no excess. `rest` is how often the other classifiers see the same as before, None
    without such; `distance` the root mean square difference from the pictures before, 0 to 1.
    `worth` is the product of `drop` and `kept_share`, 1 where all is as wished; `certainty` the
    same of the classifiers' probabilities.
    """

    unwanted: float
    kept: float
    kept_share: float | None
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    rest: float | None
    distance: float
    by_class: Mapping[str, float]
    worth: float
    certainty: float


def judged(
    case: Case, judges: Judges, drawing: Drawing, before: Drawing, control: Drawing
) -> Judged:
    """Compare a drawing with the prompt as it is and with its control, of the same sentences."""
    (rates, odds), (kept, kept_odds) = (
        _rates(drawing, labels) for labels in (judges.unwanted, judges.kept)
    )
    (away, away_odds), (stays, stays_odds) = (
        _rates(before, labels) for labels in (judges.unwanted, judges.kept)
    )
    usual, usual_odds = _rates(control, judges.unwanted)
    drop, share = _gone(away, usual, rates), _share(stays, kept)
    low, high = (None, None) if drop is None else _span(away, usual, rates)
    named = [f"{name}={label}" for name, label in (*case.unwanted, *case.kept)]
    return Judged(
        unwanted=float(rates.mean()),
        kept=float(kept.mean()),
        kept_share=share,
        drop=drop,
        drop_low=low,
        drop_high=high,
        rest=same(drawing, before, list(judges.others.values())),
        distance=drawing.distance(before),
        by_class=dict(zip(named, [*rates.mean(0).tolist(), *kept.mean(0).tolist()], strict=True)),
        worth=_worth(drop, share),
        certainty=_worth(_gone(away_odds, usual_odds, odds), _share(stays_odds, kept_odds)),
    )


def same(drawing: Drawing, reference: Drawing, classifiers: Sequence[Classifier]) -> float | None:
    """How often classifiers predict the same of both drawings; None where there are none."""
    hits = [drawing.same_as(reference, one) for one in classifiers]
    return float(np.mean(hits)) if hits else None


def _gone(away: Floats, usual: Floats, own: Floats) -> float | None:
    """The share of the excess that is gone; None where there is no excess."""
    excess = float((away - usual).mean())
    return float((away - own).mean()) / excess if excess > LEAST else None


def _span(away: Floats, usual: Floats, own: Floats) -> tuple[float, float]:
    """Both ends of a 95% interval of that share, by bootstrap over sentences.

    The same sentences are drawn of all three, so that the excess varies with what is gone of it;
    draws without an excess have no share and are left out.
    """
    count = len(away)
    chance = np.random.default_rng(0)
    picks = chance.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    gone, excess = picks @ (away - own).mean(1), picks @ (away - usual).mean(1)
    fine = excess > LEAST
    low, high = np.quantile(gone[fine] / excess[fine], [0.025, 0.975])
    return float(low), float(high)


def _share(before: Floats, now: Floats) -> float | None:
    """The least share of its rate before that a class has now, of those that were drawn before."""
    was, rate = before.mean(0), now.mean(0)
    drawn = was > 0
    return float((rate[drawn] / was[drawn]).min()) if drawn.any() else None


def _worth(drop: float | None, kept_share: float | None) -> float:
    return max(min(drop or 0.0, 1.0), 0.0) * min(kept_share or 0.0, 1.0)


def _rates(drawing: Drawing, labels: Sequence[Label]) -> tuple[Floats, Floats]:
    """`[sentence, class]`: how often each is the likeliest, and its mean probability."""
    shown, likely = [], []
    for opened, label in labels:
        odds = drawing.probabilities(opened)[:, opened.classes.index(label)]
        shown.append(drawing.design.item_means(drawing.hits(opened, label)))
        likely.append(drawing.design.item_means(odds))
    return np.stack(shown, axis=1), np.stack(likely, axis=1).astype(np.float64)
