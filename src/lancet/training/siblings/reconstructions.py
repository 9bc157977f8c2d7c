"""How much the autoencoder loses: PSNR, and what classifiers predict before and after it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from diffusers import AutoencoderKL

from clerestory.types import Pictures
from lancet.classifiers import LancetClassifiers
from lancet.training.renders import HEADS, Renders
from lancet.training.siblings import autoencoder
from lancet.world.scene import NONE

__all__ = ["Reconstructions", "measure"]


@dataclass(frozen=True)
class Reconstructions:
    """What is kept of held-out renders that go through the autoencoder.

    Attributes:
        psnr: The mean over pictures of 10 log₁₀(255² / mean squared error), in dB.
        psnr_by_style: The same in each style.
        renders: How often the evaluation classifiers are right on the renders, by factor.
        reconstructions: The same on the reconstructions.
        count: How many pictures.
    """

    psnr: float
    psnr_by_style: dict[str, float]
    renders: dict[str, float]
    reconstructions: dict[str, float]
    count: int

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        lost = {name: self.renders[name] - self.reconstructions[name] for name in self.renders}
        worst = max(lost, key=lambda name: lost[name])
        return (
            f"{self.psnr:.1f} dB on {self.count} held-out renders; the classifiers lose most of"
            f" {worst}: {self.renders[worst]:.3f} of renders are right,"
            f" {self.reconstructions[worst]:.3f} of reconstructions"
        )


def measure(model: AutoencoderKL, renders: Renders) -> Reconstructions:
    """Encode and decode held-out renders.

    Args:
        model: The autoencoder.
        renders: Pictures of 128 pixels a side that it was not trained on.

    Returns:
        The measurements.
    """
    pictures = np.asarray(renders.pictures)
    decoded = autoencoder.decode(model, autoencoder.encode(model, pictures))
    error = (decoded.astype(np.float32) - pictures.astype(np.float32)) ** 2
    # One level of error at least: a flat picture may come back exactly.
    decibels = 10 * np.log10(255**2 / np.maximum(error.mean((1, 2, 3)), 1 / 12))
    by_style = pd.Series(decibels).groupby(renders.scenes["style"].to_numpy()).mean()
    classifiers = LancetClassifiers.load("evaluation")
    return Reconstructions(
        psnr=float(decibels.mean()),
        psnr_by_style={str(style): float(value) for style, value in by_style.items()},
        renders=_accuracies(classifiers, pictures, renders),
        reconstructions=_accuracies(classifiers, decoded, renders),
        count=len(pictures),
    )


def _accuracies(
    classifiers: LancetClassifiers, pictures: Pictures, renders: Renders
) -> dict[str, float]:
    """The share of right predictions by factor; of a pair's objects either is right."""
    probabilities = classifiers.probabilities(pictures)
    accuracies = {}
    for factor in HEADS:
        labels = np.array(classifiers.classes[factor])[probabilities[factor].argmax(1)]
        truth = renders.scenes[factor].to_numpy()
        right = labels == truth
        if factor == "subject":
            right |= labels == renders.scenes["second"].to_numpy()
        present = truth != NONE
        if present.any():
            accuracies[factor] = float(right[present].mean())
    return accuracies
