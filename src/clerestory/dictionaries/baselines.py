"""What a reconstruction is compared with: a random dictionary, and the mean of the activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.dictionaries.activation import threshold_at
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.sources import Rows
from clerestory.dictionaries.stream import estimate
from clerestory.errors import DictionaryError
from clerestory.models.core.latents import MAX_VALUES

__all__ = ["constant_dictionary", "matched_random"]

TOLERANCE = 0.05
"""Share by which the active latents may exceed their target without a bias of the encoder."""


@torch.no_grad()
def matched_random(dictionary: Dictionary, rows: Rows, l0: float, seed: int = 0) -> Dictionary:
    """A random dictionary with the size, the kind and the number of active latents of another.

    Its directions are random. Everything else is fitted to the activations, so that it is not
    worse for a wrong mean or length: values are normalised by their mean and variance, and decoded
    values are scaled by one factor with the smallest squared error.

    Args:
        dictionary: The dictionary that it is the baseline of.
        rows: Activations of the site.
        l0: Latents per position that it is to have on these.
        seed: Seed of its directions.

    Returns:
        The random dictionary, on the CPU.
    """
    # The latents of all rows may not fit into memory.
    count = max(1, MAX_VALUES // dictionary.latents)
    order = np.random.default_rng(seed).permutation(len(rows))[:count]
    values = torch.from_numpy(np.ascontiguousarray(rows.values[np.sort(order)]))
    try:
        normalization = estimate(torch.from_numpy(rows.values), "standard")
    except DictionaryError:  # activations that are all alike have no scale
        normalization = estimate(torch.from_numpy(rows.values), "none")
    random = Dictionary.random(
        dictionary.width,
        dictionary.latents,
        seed=seed,
        activation=ReLU(),
        normalization=normalization,
        site=dictionary.site,
    )
    scaled = normalization.apply(values)
    before = scaled @ random.encoder
    random = replace(random, activation=dictionary.activation.to("cpu").at_l0(before, l0))
    if _l0(random.activation(before)) > (1 + TOLERANCE) * l0 and random.activation.elementwise:
        # A kind without a threshold of its own, whose number follows from the encoder's bias.
        shift = max(0.0, threshold_at(before, l0))
        random = replace(random, encoder_bias=random.encoder_bias - shift)
    return _with_length(random, scaled)


def _with_length(random: Dictionary, scaled: Tensor) -> Dictionary:
    """The dictionary with its decoder scaled by the factor with the smallest squared error."""
    latents = random.activation(scaled @ random.encoder + random.encoder_bias)
    decoded = (latents @ random.decoder).double()
    length = decoded.square().sum()
    factor = float((decoded * scaled.double()).sum() / length) if length > 0 else 1.0
    return replace(random, decoder=random.decoder * factor)


def _l0(latents: Tensor) -> float:
    return float((latents > 0).sum(-1).double().mean())


def constant_dictionary(value: NDArray[np.float64], site: str = "") -> Dictionary:
    """A dictionary whose reconstruction is one value, whatever it encodes.

    Args:
        value: `[unit]`.
        site: Address of the site.

    Returns:
        A dictionary with one latent that is never active.
    """
    width = len(value)
    return Dictionary(
        encoder=torch.zeros(width, 1),
        encoder_bias=torch.zeros(1),
        decoder=torch.zeros(1, width),
        decoder_bias=torch.from_numpy(np.asarray(value, np.float32)),
        activation=ReLU(),
        site=site,
    )
