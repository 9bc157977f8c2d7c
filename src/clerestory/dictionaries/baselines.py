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
from clerestory.dictionaries.normalization import Normalization
from clerestory.dictionaries.sources import Rows
from clerestory.dictionaries.stream import estimate
from clerestory.errors import DictionaryError
from clerestory.models.core.latents import MAX_VALUES

__all__ = ["constant_dictionary", "matched_random", "some_values", "with_fitted_length"]

TOLERANCE = 0.05
"""Share by which the active latents may exceed their target without a bias of the encoder."""


@torch.no_grad()
def matched_random(dictionary: Dictionary, values: Tensor, seed: int = 0) -> Dictionary:
    """A random dictionary with the size, the kind and the number of active latents of another.

    Its directions are random, of length one; its encoder is their transpose. Values are normalised
    as the other dictionary does; where that does not, by their mean and variance, so that the
    random one is not worse for a wrong mean or length.

    Args:
        dictionary: The dictionary that it is the baseline of, on the CPU.
        values: Activations of the site, `[row, unit]`: as many latents per row as the other
            dictionary has on these, on average, are active.
        seed: Seed of its directions.

    Returns:
        The random dictionary, on the CPU.
    """
    share = (dictionary.encode(values) > 0).float().mean().item()
    l0 = share * dictionary.latents
    random = Dictionary.random(
        dictionary.width,
        dictionary.latents,
        seed=seed,
        activation=ReLU(),
        normalization=_normalization(dictionary, values),
        site=dictionary.site,
    )
    before = random.normalization.apply(values.float()) @ random.encoder
    random = replace(random, activation=dictionary.activation.at_l0(before, l0))
    if _l0(random.activation(before)) > (1 + TOLERANCE) * l0 and random.activation.elementwise:
        # A kind without a threshold of its own, whose number follows from the encoder's bias.
        shift = max(0.0, threshold_at(before, l0))
        random = replace(random, encoder_bias=random.encoder_bias - shift)
    return random


def _normalization(dictionary: Dictionary, values: Tensor) -> Normalization:
    if dictionary.normalization.tensors():
        return dictionary.normalization
    try:
        return estimate(values, "standard")
    except DictionaryError:  # activations that are all alike have no scale
        return estimate(values, "none")


@torch.no_grad()
def with_fitted_length(dictionary: Dictionary, values: Tensor) -> Dictionary:
    """A dictionary whose decoder is scaled by the factor with the smallest squared error.

    Directions of length one decode too much where several that are active are alike: as the
    baseline of a reconstruction a random dictionary is fitted so far. Its latents stay the same.

    Args:
        dictionary: The dictionary.
        values: Activations of the site, `[row, unit]`.

    Returns:
        A copy.
    """
    scaled = dictionary.normalization.apply(values.float()).double()
    decoded = (dictionary.encode(values) @ dictionary.decoder).double()
    length = decoded.square().sum()
    factor = float((decoded * scaled).sum() / length) if length > 0 else 1.0
    return replace(dictionary, decoder=dictionary.decoder * factor)


def some_values(rows: Rows, latents: int, seed: int = 0) -> Tensor:
    """Evenly drawn rows, as many as have latents that fit into memory.

    Args:
        rows: Activations of a site.
        latents: Number of latents of each row.
        seed: Draws them.

    Returns:
        `[row, unit]`, in the order of the rows.
    """
    order = np.random.default_rng(seed).permutation(len(rows))[: max(1, MAX_VALUES // latents)]
    return torch.from_numpy(np.ascontiguousarray(rows.values[np.sort(order)]))


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
