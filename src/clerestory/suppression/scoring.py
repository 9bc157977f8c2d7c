"""How a way to counteract it came out: what is left of the unwanted, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers import classifier
from clerestory.models import Edit, Model
from clerestory.suppression.case import Case, Condition
from clerestory.types import Role

__all__ = ["Judged", "Labels", "Looks", "Way", "judged", "likeliest", "same"]

Pictures = NDArray[np.uint8]
Rates = NDArray[np.float64]
Labels = Mapping[str, NDArray[np.integer]]
DRAWS, LEAST = 2_000, 1e-9
"""Times that contents are drawn anew; the least excess that is one, and not rounding."""


@dataclass(frozen=True, eq=False)
class Way:
    """One way to draw: edits, words after the prompt, a negative prompt, other options."""

    rung: str
    setting: str = ""
    edits: tuple[Edit, ...] = ()
    suffix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def text(self, prompt: str) -> str:
        """What is drawn of a prompt."""
        return f"{prompt} {self.suffix}".strip()

    def draw(self, model: Model, prompts: Sequence[str], seeds: Sequence[int]) -> Pictures:
        """`[prompt, seed, height, width, 3]`."""
        texts = [self.text(prompt) for prompt in prompts]
        drawn = model.run(texts, list(seeds), edits=self.edits, **self.options).pictures
        assert drawn is not None
        return drawn.reshape(len(texts), len(seeds), *drawn.shape[1:])


@dataclass(frozen=True, eq=False)
class Judged:
    """What classifiers see, contents being the replicates.

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


@dataclass(frozen=True, eq=False)
class Looks:
    """Pictures `[content, seed, height, width, 3]`, and what one set of classifiers makes of them.

    Each classifier is asked once, so that pictures which others are held to are judged once.
    """

    case: Case
    pictures: Pictures
    role: Role

    @cached_property
    def away(self) -> tuple[Rates, Rates]:
        """`[content, class]` of the unwanted: how often it is the likeliest, how likely it is."""
        return _rates(self.case.unwanted, self.pictures, self.role)

    @cached_property
    def kept(self) -> tuple[Rates, Rates]:
        """The same of what is to stay."""
        return _rates(self.case.kept, self.pictures, self.role)

    @cached_property
    def rest(self) -> Labels:
        """What the other classifiers see."""
        return likeliest(self.case.others, self.pictures, self.role)


def judged(own: Looks, before: Looks, control: Looks) -> Judged:
    """Hold pictures to those before and to the control's."""
    (rates, odds), (kept, kept_odds) = own.away, own.kept
    away, usual = before.away[0], control.away[0]
    drop, share = _gone(away, usual, rates), _share(before.kept[0], kept)
    low, high = (None, None) if drop is None else _span(away, usual, rates)
    named = [f"{name}={shows}" for name, shows in (*own.case.unwanted, *own.case.kept)]
    apart = (own.pictures.astype(np.float32) - before.pictures) / 255
    return Judged(
        unwanted=float(rates.mean()),
        kept=float(kept.mean()),
        kept_share=share,
        drop=drop,
        drop_low=low,
        drop_high=high,
        rest=same(own.rest, before.rest),
        distance=float(np.sqrt((apart**2).mean())),
        by_class=dict(zip(named, [*rates.mean(0).tolist(), *kept.mean(0).tolist()], strict=True)),
        worth=_worth(drop, share),
        certainty=_worth(
            _gone(before.away[1], control.away[1], odds), _share(before.kept[1], kept_odds)
        ),
    )


def _gone(away: Rates, usual: Rates, own: Rates) -> float | None:
    """The share of the excess that is gone; None where there is no excess."""
    excess = float((away - usual).mean())
    return float((away - own).mean()) / excess if excess > LEAST else None


def _span(away: Rates, usual: Rates, own: Rates) -> tuple[float, float]:
    """Both ends of a 95% interval of that share, by bootstrap over contents.

    The same contents are drawn of all three, so that the excess varies with what is gone of it;
    draws without an excess have no share and are left out.
    """
    count = len(away)
    chance = np.random.default_rng(0)
    picks = chance.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    gone, excess = picks @ (away - own).mean(1), picks @ (away - usual).mean(1)
    fine = excess > LEAST
    low, high = np.quantile(gone[fine] / excess[fine], [0.025, 0.975])
    return float(low), float(high)


def _share(before: Rates, now: Rates) -> float | None:
    """The least share of its rate before that a class has now, of those that were drawn before."""
    was, rate = before.mean(0), now.mean(0)
    drawn = was > 0
    return float((rate[drawn] / was[drawn]).min()) if drawn.any() else None


def _worth(drop: float | None, kept_share: float | None) -> float:
    return max(min(drop or 0.0, 1.0), 0.0) * min(kept_share or 0.0, 1.0)


def likeliest(names: Sequence[str], pictures: Pictures, role: Role) -> Labels:
    """By classifier the likeliest class of each picture, by its number, `[content, seed]`."""
    found = {name: _asked(name, pictures, role).argmax(-1) for name in names}
    return {name: np.asarray(one) for name, one in found.items()}


def same(one: Labels, other: Labels) -> float | None:
    """How often classifiers see the same in both; None where there are none."""
    return float(np.mean([one[name] == other[name] for name in one])) if one else None


def _rates(conditions: Sequence[Condition], pictures: Pictures, role: Role) -> tuple[Rates, Rates]:
    """`[content, condition]`: how often each is the likeliest, and its mean probability."""
    shown, likely = [], []
    for name, shows in conditions:
        odds, at = (
            _asked(name, pictures, role),
            classifier(name, role=role).classes.index(shows),
        )
        shown.append((odds.argmax(-1) == at).mean(1))
        likely.append(odds[..., at].mean(1))
    return np.stack(shown, axis=1), np.stack(likely, axis=1).astype(np.float64)


def _asked(name: str, pictures: Pictures, role: Role) -> NDArray[np.floating]:
    """Probabilities `[content, seed, class]`."""
    flat = pictures.reshape(-1, *pictures.shape[2:])
    return np.asarray(classifier(name, role=role)(flat)).reshape(*pictures.shape[:2], -1)
