"""Activations of known sparse factors, and recordings of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from helpers.recordings import recording_of
from numpy.typing import NDArray

from clerestory.dictionaries import Dictionary
from clerestory.recordings import Recording

SITE, WIDTH, FACTORS, ACTIVE = "denoiser.mid/out", 24, 32, 2


def factors(seed: int = 0) -> NDArray[np.float64]:
    """Directions of length 1, `[factor, unit]`, more than there are units."""
    directions = np.random.default_rng(seed).normal(size=(FACTORS, WIDTH))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def planted(
    samples: int, steps: int, positions: int, seed: int = 1, factor_seed: int = 0
) -> NDArray[np.float64]:
    """Sums of a few factors and of one constant, `[sample, step, position, unit]`."""
    rng = np.random.default_rng(seed)
    shape = (samples, steps, positions, FACTORS)
    active = (rng.random(shape) < ACTIVE / FACTORS) * rng.uniform(0.5, 1.5, shape)
    return active @ factors(factor_seed) + 0.3


def recording(folder: Path, values: NDArray[np.floating], items: int | None = None) -> Recording:
    """A recording of one site; samples share items where there are fewer of them."""
    samples = np.arange(len(values))
    names = [f"thing {index % (items or len(values))}" for index in samples]
    table = pd.DataFrame({"prompt": [f"prompt {index}" for index in samples], "seed": samples})
    return recording_of(table.assign(item=names), {SITE: values}, folder)


def recovery(dictionary: Dictionary, factor_seed: int = 0) -> NDArray[np.float64]:
    """Of each factor, the largest cosine with a direction of the dictionary."""
    scale = dictionary.normalization.scale
    directions = dictionary.decoder * (torch.ones(1) if scale is None else scale)
    directions = directions / directions.norm(dim=1, keepdim=True)
    return (factors(factor_seed) @ directions.double().numpy().T).max(1)
