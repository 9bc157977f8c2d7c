"""How well a Lancet draws what prompts ask for: rates by classifiers, with intervals.

evaluation = evaluate(clerestory.load("lancet"))
evaluation.rates["style"]          # Rate(rate=0.93, low=0.90, high=0.95, of=404)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import ModelError
from clerestory.models import Model
from clerestory.stats import frechet_distance, wilson
from clerestory.types import Pictures, Progress
from lancet import checkpoint
from lancet.classifiers import LancetClassifiers
from lancet.evaluation.prompts import EvaluationPrompt, digest, grid, training_captions
from lancet.world.scene import NONE
from lancet.world.table import World

__all__ = [
    "Evaluation",
    "Rate",
    "draw",
    "evaluate",
    "held_out",
    "prompts",
    "rate",
    "rates_by_factor",
]


FACTORS = ("style", "subject", "place", "mood")


@dataclass(frozen=True)
class Rate:
    """A rate over prompts, each drawn once, with its Wilson interval."""

    rate: float
    low: float
    high: float
    of: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a Lancet draws for the evaluation prompts. A rate of nothing is None.

    `classifiers` is how often the evaluation classifiers are right about held-out renders,
    `same_styles` how often they are about renders in the styles that the main part asks for: no
    rate is known better than that. `frechet` is between the pictures and held-out renders, in the
    features of these classifiers. The prompts ask for styles and places evenly and the world does
    not, so compare it only with that of another model on the same prompts.
    """

    rates: Mapping[str, Rate | None]
    held_out: Mapping[str, Rate | None]
    classifiers: Mapping[str, Rate]
    same_styles: Mapping[str, float | None]
    frechet: float
    seconds_per_picture: float
    asks: tuple[EvaluationPrompt, ...] = field(repr=False)
    pictures: Pictures = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
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
    """Draw the evaluation prompts and classify the pictures.

    Args:
        model: The Lancet.
        folder: Its folder; by default the shipped one.
        progress: Receives how many pictures are drawn.
        options: Options of drawing, such as other `steps`.

    Returns:
        The rates, with the accuracy of the classifiers.
    """
    asks = prompts(folder)
    start = time.perf_counter()
    pictures = draw(model, asks, progress, **options)
    seconds = (time.perf_counter() - start) / len(asks)
    classifiers = LancetClassifiers.load("evaluation", folder)
    # Covariances of float32 features lose digits that the Fréchet distance needs.
    features = classifiers.features(pictures).astype(np.float64)
    drawn = (features.mean(0), np.cov(features.T))
    return Evaluation(
        rates=rates_by_factor(asks, classifiers, pictures),
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


def prompts(folder: Path | None = None) -> tuple[EvaluationPrompt, ...]:
    """The evaluation prompts of the world of a Lancet, without captions of its training.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        The prompts, always the same ones.

    Raises:
        ModelError: Captions are sampled otherwise now, so that those of its training are unknown.
    """
    place = checkpoint.verified(folder)
    manifest = checkpoint.manifest(folder)
    world = World.load(place / "world.toml")
    seen = training_captions(world, manifest["settings"]["renders"])
    if digest(seen) != manifest.get("captions"):
        raise ModelError(
            f"{place}: its training captions differ from those that this version samples."
        )
    return grid(world, frozenset(seen))


def draw(
    model: Model, asks: Sequence[EvaluationPrompt], progress: Progress | None = None, **options: Any
) -> Pictures:
    """Draw every prompt once, with its seed.

    Args:
        model: The Lancet.
        asks: Prompts with their seeds.
        progress: A callback of (label, completed, total); None for silence.
        **options: Options of drawing, such as other `steps`.

    Returns:
        `[prompt, height, width, 3]`, in the order of the prompts.
    """
    drawn: dict[int, Pictures] = {}
    done = 0
    # One run a seed: a run takes many prompts but crosses them with its seeds.
    for seed in sorted({ask.seed for ask in asks}):
        rows = [row for row, ask in enumerate(asks) if ask.seed == seed]

        def report(label: str, completed: int, _: int, before: int = done) -> None:
            if progress is not None:
                progress(label, before + completed, len(asks))

        texts = [asks[row].prompt for row in rows]
        pictures = model.run(texts, seed, progress=report, **options).pictures
        assert pictures is not None
        drawn |= dict(zip(rows, pictures, strict=True))
        done += len(rows)
    return np.stack([drawn[row] for row in range(len(asks))])


def rates_by_factor(
    asks: Sequence[EvaluationPrompt], classifiers: LancetClassifiers, pictures: Pictures
) -> dict[str, Rate | None]:
    """How often pictures show what their prompts ask for, and a window where they do not.

    Rates are of the main part but for `perspective`, which has prompts of its own, and
    `two_objects`: both must be the two likeliest subjects.

    Args:
        asks: The prompts.
        classifiers: One set of classifiers.
        pictures: `[prompt, 64, 64, 3]`, uint8.

    Returns:
        By factor; None where no prompt asks for it.
    """
    odds = classifiers.probabilities(pictures)
    predicted = {
        factor: np.array(classifiers.classes[factor])[values.argmax(1)]
        for factor, values in odds.items()
    }
    part = np.array([ask.part for ask in asks])
    rates = _rates_of(asks, predicted, part == "main")
    view = np.array([ask.perspective for ask in asks])
    rates["perspective"] = _share(predicted["perspective"] == view, part == "perspective")
    rates["two_objects"] = _share(_both(asks, classifiers, odds["subject"]), part == "pair")
    return rates


def same_styles(
    asks: Sequence[EvaluationPrompt], classifiers: LancetClassifiers
) -> dict[str, float | None]:
    """How often the classifiers are right about renders in the styles of the main part's prompts.

    Of each factor over the prompts that ask for it; None where none does.
    """
    found: dict[str, float | None] = {}
    for factor in FACTORS:
        among = [ask for ask in asks if ask.part == "main" and getattr(ask, factor) != NONE]
        right = [_right(classifiers, factor, ask.style) for ask in among]
        found[factor] = float(np.mean(right)) if right else None
    return found


def _right(classifiers: LancetClassifiers, factor: str, style: str) -> float:
    right, every = classifiers.accuracy_in_style(factor, style)
    return right / every if every else float("nan")


def held_out(
    asks: Sequence[EvaluationPrompt], classifiers: LancetClassifiers, pictures: Pictures
) -> dict[str, Rate | None]:
    """The rates of style, subject, place and mood in combinations that training never shows.

    Args:
        asks: The prompts.
        classifiers: One set of classifiers.
        pictures: `[prompt, 64, 64, 3]`, uint8.

    Returns:
        By factor; None where no prompt asks for it.
    """
    odds = classifiers.probabilities(pictures)
    predicted = {
        factor: np.array(classifiers.classes[factor])[odds[factor].argmax(1)]
        for factor in (*FACTORS, "window")
    }
    return _rates_of(asks, predicted, np.array([ask.part == "held out" for ask in asks]))


def _rates_of(
    asks: Sequence[EvaluationPrompt],
    predicted: Mapping[str, NDArray[np.str_]],
    among: NDArray[np.bool_],
) -> dict[str, Rate | None]:
    rates: dict[str, Rate | None] = {}
    for factor in FACTORS:
        asked = np.array([getattr(ask, factor) for ask in asks])
        rates[factor] = _share(predicted[factor] == asked, (asked != NONE) & among)
    window = np.array([ask.window for ask in asks])
    rates["window_asked"] = _share(predicted["window"] == "present", window & among)
    rates["window_not_asked"] = _share(predicted["window"] == "present", ~window & among)
    return rates


def _both(
    asks: Sequence[EvaluationPrompt], classifiers: LancetClassifiers, odds: NDArray[np.float32]
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
    """So many of so many, with its interval.

    Args:
        right: How many are right.
        of: How many there are, one or more.

    Returns:
        The rate with its 95% Wilson interval.
    """
    return Rate(right / of, *wilson(right, of), of)
