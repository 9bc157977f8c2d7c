"""How well a Lancet draws what it is asked for: rates by the classifiers of set b, with intervals.

evaluation = evaluate(clerestory.load("lancet"))
evaluation.rates["style"]          # Rate(rate=0.93, low=0.90, high=0.95, of=404)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import ModelError
from clerestory.models import Model
from clerestory.stats import frechet_distance, wilson
from lancet import weights
from lancet.classifiers import LancetClassifiers
from lancet.grid import Ask, captions_seen, digest, grid
from lancet.world.scene import NONE
from lancet.world.table import World

__all__ = ["Evaluation", "Rate", "draw", "evaluate", "held_out", "judge", "prompts", "rate"]

Progress = Callable[[int, int], None]
Pictures = NDArray[np.uint8]

ASKED = ("style", "subject", "place", "mood")


@dataclass(frozen=True)
class Rate:
    """A rate over prompts, each drawn once, with its Wilson interval."""

    rate: float
    low: float
    high: float
    of: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of the grid. A rate of nothing (a world without moods) is None.

    `classifiers` is how often set b itself is right about held-out renders, `same_styles` how often
    it is about renders in the styles that the grid's main part asks for: no rate can be trusted
    closer than that. `frechet` is between the grid's pictures and held-out renders, in the features
    of set b; it contains that the grid asks for styles and places evenly and the world does not, so
    compare it only with that of another model on the same grid.
    """

    rates: Mapping[str, Rate | None]
    held_out: Mapping[str, Rate | None]
    classifiers: Mapping[str, Rate]
    same_styles: Mapping[str, float | None]
    frechet: float
    seconds_per_picture: float
    asks: tuple[Ask, ...] = field(repr=False)
    pictures: Pictures = field(repr=False)

    def told(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "rates": _spans(self.rates),
            "held_out": _spans(self.held_out),
            "classifiers": {name: rate.rate for name, rate in self.classifiers.items()},
            "same_styles": dict(self.same_styles),
            "frechet": self.frechet,
            "seconds_per_picture": self.seconds_per_picture,
        }


def evaluate(
    model: Model,
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Draw and judge the grid. `folder` is the Lancet's, the shipped one by default.

    `options` are those of `Options`, such as other `steps`.
    """
    asks = prompts(folder)
    start = time.perf_counter()
    pictures = draw(model, asks, progress, **options)
    seconds = (time.perf_counter() - start) / len(asks)
    classifiers = LancetClassifiers.load("evaluation", folder)
    features = classifiers.features(pictures).astype(np.float64)
    drawn = (features.mean(0), np.cov(features.T))
    return Evaluation(
        rates=judge(asks, classifiers, pictures),
        held_out=held_out(asks, classifiers, pictures),
        classifiers={
            **{factor: rate(*classifiers.accuracy(factor)) for factor in classifiers.classes},
            "two_objects": rate(*classifiers.both()),
        },
        same_styles=same_styles(asks, classifiers),
        frechet=frechet_distance(drawn, classifiers.reference()),
        seconds_per_picture=seconds,
        asks=asks,
        pictures=pictures,
    )


def prompts(folder: Path | None = None) -> tuple[Ask, ...]:
    """The grid of the world that a Lancet was taught, without captions that it has seen.

    ModelError where the captions of its training cannot be told any more: sampling has changed.
    """
    place = weights.verified(folder)
    told = weights.manifest(folder)
    world = World.load(place / "world.toml")
    seen = captions_seen(world, told["settings"]["renders"])
    if digest(seen) != told.get("captions"):
        raise ModelError(
            f"{place}: its training captions are not those of this Clerestory's world."
        )
    return grid(world, frozenset(seen))


def draw(
    model: Model, asks: Sequence[Ask], progress: Progress | None = None, **options: Any
) -> Pictures:
    """Draw every prompt once, with its seed."""
    drawn: dict[int, Pictures] = {}
    done = 0
    for seed in sorted({ask.seed for ask in asks}):
        rows = [row for row, ask in enumerate(asks) if ask.seed == seed]

        def tell(_: str, now: int, __: int, before: int = done) -> None:
            if progress is not None:
                progress(before + now, len(asks))

        texts = [asks[row].prompt for row in rows]
        came = model.run(texts, seed, progress=tell, **options).pictures
        assert came is not None
        drawn |= dict(zip(rows, came, strict=True))
        done += len(rows)
    return np.stack([drawn[row] for row in range(len(asks))])


def judge(
    asks: Sequence[Ask], classifiers: LancetClassifiers, pictures: Pictures
) -> dict[str, Rate | None]:
    """How often the pictures show what was asked, and the window where it was not asked for.

    Of the main part, all but `perspective`, asked for in prompts of its own, and `two_objects`: the
    two that were asked for are the two subjects that the classifier holds likeliest.
    """
    odds = classifiers.probabilities(pictures)
    said = {
        factor: np.array(classifiers.classes[factor])[values.argmax(1)]
        for factor, values in odds.items()
    }
    part = np.array([ask.part for ask in asks])
    rates = _shown(asks, said, part == "main")
    view = np.array([ask.perspective for ask in asks])
    rates["perspective"] = _share(said["perspective"] == view, part == "perspective")
    rates["two_objects"] = _share(_both(asks, classifiers, odds["subject"]), part == "pair")
    return rates


def same_styles(asks: Sequence[Ask], classifiers: LancetClassifiers) -> dict[str, float | None]:
    """How often the classifiers are right about renders in the styles of the main part's prompts.

    Of each factor over the prompts that ask for it; None where none does.
    """
    found: dict[str, float | None] = {}
    for factor in ASKED:
        among = [ask for ask in asks if ask.part == "main" and getattr(ask, factor) != NONE]
        right = [_right(classifiers, factor, ask.style) for ask in among]
        found[factor] = float(np.mean(right)) if right else None
    return found


def _right(classifiers: LancetClassifiers, factor: str, style: str) -> float:
    right, every = classifiers.accuracy_in_style(factor, style)
    return right / every if every else float("nan")


def held_out(
    asks: Sequence[Ask], classifiers: LancetClassifiers, pictures: Pictures
) -> dict[str, Rate | None]:
    """The rates of style, subject, place and mood in combinations that training never shows."""
    odds = classifiers.probabilities(pictures)
    said = {
        factor: np.array(classifiers.classes[factor])[odds[factor].argmax(1)]
        for factor in (*ASKED, "window")
    }
    return _shown(asks, said, np.array([ask.part == "held out" for ask in asks]))


def _shown(
    asks: Sequence[Ask], said: Mapping[str, NDArray[np.str_]], among: NDArray[np.bool_]
) -> dict[str, Rate | None]:
    rates: dict[str, Rate | None] = {}
    for factor in ASKED:
        asked = np.array([getattr(ask, factor) for ask in asks])
        rates[factor] = _share(said[factor] == asked, (asked != NONE) & among)
    window = np.array([ask.window for ask in asks])
    rates["window_asked"] = _share(said["window"] == "present", window & among)
    rates["window_not_asked"] = _share(said["window"] == "present", ~window & among)
    return rates


def _both(
    asks: Sequence[Ask], classifiers: LancetClassifiers, odds: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Whether the two likeliest subjects are the two that were asked for."""
    names = np.array(classifiers.classes["subject"])
    likeliest = names[np.argsort(odds, axis=1)[:, -2:]]
    wanted = [{ask.subject, ask.second} for ask in asks]
    return np.array([set(two) == both for two, both in zip(likeliest, wanted, strict=True)])


def _spans(rates: Mapping[str, Rate | None]) -> dict[str, Any]:
    return {
        name: None if rate is None else {k: v for k, v in asdict(rate).items() if k != "of"}
        for name, rate in rates.items()
    }


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate | None:
    return rate(int(hits[among].sum()), int(among.sum())) if among.any() else None


def rate(right: int, of: int) -> Rate:
    """So many of so many, with its interval."""
    return Rate(right / of, *wilson(right, of), of)
