"""How often a Lancet draws what prompts ask for: rates by classifiers, with intervals.

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
    "evaluation_prompts",
    "held_out_rates",
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
    """Rates of a Lancet's pictures of the evaluation prompts; None where no prompt counts.

    `classifiers` is the accuracy of the evaluation classifiers on held-out renders, `same_styles`
    their accuracy on renders in the styles of the main part, which limits what a rate can show.
    `frechet` is between the pictures and held-out renders, in the features of these classifiers.
    The prompts ask for styles and places evenly and the world does not: compare it only with that
    of another model on the same prompts.
    """

    rates: Mapping[str, Rate | None]
    held_out: Mapping[str, Rate | None]
    classifiers: Mapping[str, Rate]
    same_styles: Mapping[str, float | None]
    frechet: float
    seconds_per_picture: float
    prompts: tuple[EvaluationPrompt, ...] = field(repr=False)
    pictures: Pictures = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "rates": _intervals(self.rates),
            "held_out": _intervals(self.held_out),
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
        progress: A callback of (label, completed, total); None for silence.
        **options: Options of drawing, such as `steps`.

    Returns:
        The rates, with the accuracy of the classifiers.
    """
    prompts = evaluation_prompts(folder)
    start = time.perf_counter()
    pictures = draw(model, prompts, progress, **options)
    # With everything that a user waits for, the text encoder included.
    seconds = (time.perf_counter() - start) / len(prompts)
    classifiers = LancetClassifiers.load("evaluation", folder)
    # Covariances of float32 features lose digits that the Fréchet distance needs.
    features = classifiers.features(pictures).astype(np.float64)
    # Fréchet distance (Heusel et al. 2017) between Gaussians, by the classifiers' own features:
    # Inception's are of photographs.
    drawn = (features.mean(0), np.cov(features.T))
    return Evaluation(
        rates=rates_by_factor(prompts, classifiers, pictures),
        held_out=held_out_rates(prompts, classifiers, pictures),
        classifiers={
            **{factor: rate(*classifiers.accuracy(factor)) for factor in classifiers.classes},
            "two_objects": rate(*classifiers.both()),
        },
        same_styles=same_styles(prompts, classifiers),
        frechet=frechet_distance(drawn, classifiers.reference()),
        seconds_per_picture=seconds,
        prompts=prompts,
        pictures=pictures,
    )


def evaluation_prompts(folder: Path | None = None) -> tuple[EvaluationPrompt, ...]:
    """The evaluation prompts of the world of a Lancet, without captions of its training.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        The prompts, always the same ones.

    Raises:
        ModelError: This version samples other captions, so that those of training are unknown.
    """
    weights = checkpoint.verified(folder)
    manifest = checkpoint.manifest(folder)
    world = World.load(weights / "world.toml")
    captions = training_captions(world, manifest["settings"]["renders"])
    # With other captions some prompt might have been trained on.
    if digest(captions) != manifest.get("captions"):
        raise ModelError(
            f"{weights}: its training captions differ from those that this version samples."
        )
    return grid(world, frozenset(captions))


def draw(
    model: Model,
    prompts: Sequence[EvaluationPrompt],
    progress: Progress | None = None,
    **options: Any,
) -> Pictures:
    """Draw every prompt once, with its seed.

    Args:
        model: The Lancet.
        prompts: Prompts with their seeds.
        progress: A callback of (label, completed, total); None for silence.
        **options: Options of drawing, such as `steps`.

    Returns:
        `[prompt, height, width, 3]`, in the order of the prompts.
    """
    drawn: dict[int, Pictures] = {}
    done = 0
    # One run per seed: a run crosses all its prompts with all its seeds.
    for seed in sorted({prompt.seed for prompt in prompts}):
        rows = [row for row, prompt in enumerate(prompts) if prompt.seed == seed]

        def report(label: str, completed: int, _: int, before: int = done) -> None:
            if progress is not None:
                progress(label, before + completed, len(prompts))

        texts = [prompts[row].prompt for row in rows]
        pictures = model.run(texts, seed, progress=report, **options).pictures
        assert pictures is not None
        drawn |= dict(zip(rows, pictures, strict=True))
        done += len(rows)
    return np.stack([drawn[row] for row in range(len(prompts))])


def rates_by_factor(
    prompts: Sequence[EvaluationPrompt], classifiers: LancetClassifiers, pictures: Pictures
) -> dict[str, Rate | None]:
    """How often pictures show what their prompts ask for, and a window that they do not ask for.

    Rates are of the main part, except for `perspective` and `two_objects`, which have prompts of
    their own. Two objects count where they are the two likeliest subjects.

    Args:
        prompts: The prompts.
        classifiers: One set of classifiers.
        pictures: `[prompt, 64, 64, 3]`, uint8.

    Returns:
        By factor; None where no prompt asks for it.
    """
    probabilities = classifiers.probabilities(pictures)
    predicted = _labels(classifiers, probabilities)
    part = np.array([prompt.part for prompt in prompts])
    rates = _rates_of(prompts, predicted, part == "main")
    view = np.array([prompt.perspective for prompt in prompts])
    rates["perspective"] = _rate_among(predicted["perspective"] == view, part == "perspective")
    rates["two_objects"] = _rate_among(
        _pairs_correct(prompts, classifiers, probabilities["subject"]), part == "pair"
    )
    return rates


def same_styles(
    prompts: Sequence[EvaluationPrompt], classifiers: LancetClassifiers
) -> dict[str, float | None]:
    """Accuracy of the classifiers on renders in the styles of the main part's prompts.

    Of each factor over the prompts that ask for it; None where none does.

    Args:
        prompts: Prompts of all parts.
        classifiers: The classifiers.

    Returns:
        By factor, a share between 0 and 1.
    """
    accuracies: dict[str, float | None] = {}
    for factor in FACTORS:
        matching = [
            prompt
            for prompt in prompts
            # The other parts have styles of their own.
            if prompt.part == "main" and getattr(prompt, factor) != NONE
        ]
        shares = [_accuracy_in_style(classifiers, factor, prompt.style) for prompt in matching]
        accuracies[factor] = float(np.mean(shares)) if shares else None
    return accuracies


def _accuracy_in_style(classifiers: LancetClassifiers, factor: str, style: str) -> float:
    right, total = classifiers.accuracy_in_style(factor, style)
    # A style without held-out renders has no accuracy, and NaN shows that.
    return right / total if total else float("nan")


def held_out_rates(
    prompts: Sequence[EvaluationPrompt], classifiers: LancetClassifiers, pictures: Pictures
) -> dict[str, Rate | None]:
    """The rates of style, subject, place and mood in combinations that training never shows.

    Arguments and result are those of `rates_by_factor`.

    Args:
        prompts: Prompts of all parts.
        classifiers: The classifiers.
        pictures: A picture of each prompt.

    Returns:
        Rates by factor; None where no prompt asks for it.
    """
    predicted = _labels(classifiers, classifiers.probabilities(pictures))
    held_out = np.array([prompt.part == "held out" for prompt in prompts])
    return _rates_of(prompts, predicted, held_out)


def _labels(
    classifiers: LancetClassifiers, probabilities: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.str_]]:
    """The likeliest level of each factor, of each picture."""
    return {
        factor: np.array(classifiers.classes[factor])[values.argmax(1)]
        for factor, values in probabilities.items()
    }


def _rates_of(
    prompts: Sequence[EvaluationPrompt],
    predicted: Mapping[str, NDArray[np.str_]],
    among: NDArray[np.bool_],
) -> dict[str, Rate | None]:
    rates: dict[str, Rate | None] = {}
    for factor in FACTORS:
        requested = np.array([getattr(prompt, factor) for prompt in prompts])
        rates[factor] = _rate_among(predicted[factor] == requested, (requested != NONE) & among)
    window = np.array([prompt.window for prompt in prompts])
    # Wanted and unwanted windows are two figures: a model that always
    # draws one would look perfect.
    rates["window_asked"] = _rate_among(predicted["window"] == "present", window & among)
    rates["window_not_asked"] = _rate_among(predicted["window"] == "present", ~window & among)
    return rates


def _pairs_correct(
    prompts: Sequence[EvaluationPrompt],
    classifiers: LancetClassifiers,
    probabilities: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether the two likeliest subjects are those of the prompt."""
    names = np.array(classifiers.classes["subject"])
    # A soft label in training: both objects of a pair share the head's probability.
    likeliest = names[np.argsort(probabilities, axis=1)[:, -2:]]
    requested = [{prompt.subject, prompt.second} for prompt in prompts]
    return np.array([set(two) == both for two, both in zip(likeliest, requested, strict=True)])


def _intervals(rates: Mapping[str, Rate | None]) -> dict[str, Any]:
    return {
        name: None if rate is None else {k: v for k, v in asdict(rate).items() if k != "of"}
        for name, rate in rates.items()
    }


def _rate_among(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate | None:
    return rate(int(hits[among].sum()), int(among.sum())) if among.any() else None


def rate(right: int, of: int) -> Rate:
    """A rate with its interval.

    Args:
        right: Number of hits.
        of: Number of trials, one or more.

    Returns:
        The rate with its 95% Wilson interval.
    """
    # Wilson 1927: each prompt is drawn once, so that prompts are independent trials.
    return Rate(right / of, *wilson(right, of), of)
