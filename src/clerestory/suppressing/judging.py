"""How a way to counteract it came out: what is left of the unwanted, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifying import classifier
from clerestory.models import Edit, Model
from clerestory.numeric import bootstrap_means
from clerestory.suppressing.case import Case, Condition

__all__ = ["Judged", "Way", "judged", "looks", "said", "same"]

Pictures = NDArray[np.uint8]
Rates = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Way:
    """One way to draw: edits, words after the prompt, a negative prompt, other options."""

    rung: str
    setting: str = ""
    edits: tuple[Edit, ...] = ()
    suffix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, model: Model, prompts: Sequence[str], seeds: Sequence[int]) -> Pictures:
        """`[prompt, seed, height, width, 3]`."""
        texts = [f"{prompt} {self.suffix}".strip() for prompt in prompts]
        drawn = model.run(texts, list(seeds), edits=self.edits, **self.options).pictures
        assert drawn is not None
        return drawn.reshape(len(texts), len(seeds), *drawn.shape[1:])


@dataclass(frozen=True, eq=False)
class Judged:
    """What classifiers see, contents being the replicates.

    `unwanted` and `kept` are mean rates over their classes, of the class that fares worst for
    `kept_share`, the share of the rate before. `drop` is the share of the unwanted's excess over
    the control that is gone, with its interval; None where there was no excess. `rest` is how often
    the other classifiers see the same as before, None without such; `distance` the root mean square
    difference from the pictures before, 0 to 1. `worth` is the product of `drop` and `kept_share`,
    1 where all is as wished; `certainty` the same of the classifiers' probabilities.
    """

    unwanted: float
    kept: float
    kept_share: float
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    rest: float | None
    distance: float
    by_class: Mapping[str, float]
    worth: float
    certainty: float


def looks(conditions: Sequence[Condition], pictures: Pictures, which: str) -> Rates:
    """`[content, condition]`: how often each class is the likeliest, seeds averaged."""
    found = [
        said(name, pictures, which) == classifier(name, which=which).classes.index(shows)
        for name, shows in conditions
    ]
    return _by_content(found, pictures)


def sure(conditions: Sequence[Condition], pictures: Pictures, which: str) -> Rates:
    """`[content, condition]`: the probability of each class, seeds averaged."""
    found = [
        _asked(name, pictures, which)[:, classifier(name, which=which).classes.index(shows)]
        for name, shows in conditions
    ]
    return _by_content(found, pictures)


def judged(
    case: Case, pictures: Pictures, before: Pictures, control: Pictures, which: str
) -> Judged:
    """Hold pictures to those before and to the control's."""
    away, usual, own = (looks(case.unwanted, one, which) for one in (before, control, pictures))
    kept, now = looks(case.kept, before, which), looks(case.kept, pictures, which)
    gone = _gone(away, usual, own)
    low, high = (None, None)
    if gone is not None:
        low, high = (float(end) for end in bootstrap_means(gone, rng=np.random.default_rng(0)))
    named = [f"{name}={shows}" for name, shows in (*case.unwanted, *case.kept)]
    apart = (pictures.astype(np.float32) - before) / 255
    drop = None if gone is None else float(gone.mean())
    return Judged(
        unwanted=float(own.mean()),
        kept=float(now.mean()),
        kept_share=_share(kept, now),
        drop=drop,
        drop_low=low,
        drop_high=high,
        rest=same(case.others, pictures, before, which),
        distance=float(np.sqrt((apart**2).mean())),
        by_class=dict(zip(named, [*own.mean(0).tolist(), *now.mean(0).tolist()], strict=True)),
        worth=_worth(drop, _share(kept, now)),
        certainty=_certainty(case, pictures, before, control, which),
    )


def _certainty(
    case: Case, pictures: Pictures, before: Pictures, control: Pictures, which: str
) -> float:
    """What `worth` is, of probabilities."""
    away, usual, own = (sure(case.unwanted, one, which) for one in (before, control, pictures))
    gone = _gone(away, usual, own)
    kept, now = (sure(case.kept, one, which) for one in (before, pictures))
    return _worth(None if gone is None else float(gone.mean()), _share(kept, now))


def _gone(away: Rates, usual: Rates, own: Rates) -> NDArray[np.float64] | None:
    """By content the share of the excess that is gone; None where there is no excess."""
    excess = float(away.mean() - usual.mean())
    return (away - own).mean(1) / excess if excess > 0 else None


def _share(before: Rates, now: Rates) -> float:
    return float((now.mean(0) / np.maximum(before.mean(0), 1e-9)).min())


def _worth(drop: float | None, kept_share: float) -> float:
    return max(min(drop or 0.0, 1.0), 0.0) * min(kept_share, 1.0)


def same(names: Sequence[str], pictures: Pictures, before: Pictures, which: str) -> float | None:
    """How often these classifiers see the same in both; None where there are none."""
    if not names:
        return None
    agree = [said(one, pictures, which) == said(one, before, which) for one in names]
    return float(np.mean(agree))


def said(name: str, pictures: Pictures, which: str) -> NDArray[np.integer]:
    """The likeliest class of each picture, by its number, all in one row."""
    return np.asarray(_asked(name, pictures, which).argmax(1))


def _asked(name: str, pictures: Pictures, which: str) -> NDArray[np.floating]:
    flat = pictures.reshape(-1, *pictures.shape[2:])
    return np.asarray(classifier(name, which=which)(flat))


def _by_content(found: Sequence[NDArray[Any]], pictures: Pictures) -> Rates:
    return np.stack([one.reshape(pictures.shape[:2]).mean(1) for one in found], axis=1)
