"""Small random dictionaries, and what they do as matrices written out."""

from __future__ import annotations

import torch

from clerestory.dictionaries import Dictionary
from clerestory.dictionaries.kinds.relu import ReLU

LATENTS = 40


def small_dictionary(width: int, latents: int = LATENTS, seed: int = 0, site: str = ""):
    """Half of its latents are above 0 at any value; encoder and decoder are unrelated."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / 4

    return Dictionary(
        encoder=numbers(width, latents),
        encoder_bias=numbers(latents),
        decoder=numbers(latents, width),
        decoder_bias=numbers(width),
        activation=ReLU(),
        site=site,
    )


def latents_of(dictionary: Dictionary, values) -> torch.Tensor:
    """Its latents, by its matrices."""
    values = torch.as_tensor(values)
    return (values @ dictionary.encoder + dictionary.encoder_bias).clamp(min=0)


def identity_dictionary(width: int, site: str = "") -> Dictionary:
    """Reconstructs any value, bit by bit: a latent for what is above 0 of each unit, one below."""
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    return Dictionary(
        encoder=both.T.contiguous(),
        encoder_bias=torch.zeros(2 * width),
        decoder=both,
        decoder_bias=torch.zeros(width),
        activation=ReLU(),
        site=site,
    )
