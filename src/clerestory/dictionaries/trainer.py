"""The base class of trainers, each of which trains one of sae-lens's networks.

A new one is one file and one registration:

    @trainers.register("batchtopk")
    class BatchTopKTrainer(Trainer): ...

sae-lens is imported here and in `trainers` alone, when a training begins. Only its networks and
its training step are used: not what it has for language models, for wandb or for the hub.
"""

from __future__ import annotations

import importlib
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.errors import DictionaryError
from clerestory.registry import Registry

__all__ = ["Trainer", "sae_lens_module", "trainers", "weights"]


def sae_lens_module(name: str) -> Any:
    """Import a module of sae-lens.

    Args:
        name: Its name within the package.

    Returns:
        The module.

    Raises:
        DictionaryError: sae-lens is not installed.
    """
    try:
        with warnings.catch_warnings():
            # sae-lens 6.54 imports deprecated modules of transformer-lens.
            warnings.simplefilter("ignore")
            return importlib.import_module(f"sae_lens.{name}")
    except ImportError as error:
        raise DictionaryError(
            f"Training needs sae-lens ({error}): pip install 'clerestory[dictionaries]'."
        ) from error


@dataclass(frozen=True)
class Trainer(ABC):
    """What is trained, and what dictionary it becomes.

    Attributes:
        k: Latents per position: exactly, on average, or as a target, by kind.
        penalty: Coefficient of the kind's penalty for active latents, where it has one.
        updates: Number of updates of the training.
    """

    k: int
    penalty: float
    updates: int

    @abstractmethod
    def network(self, width: int, latents: int) -> Any:
        """A network of sae-lens with random weights.

        Args:
            width: Units of the site.
            latents: Number of latents.

        Returns:
            A `TrainingSAE` on the CPU.
        """

    @abstractmethod
    def activation(self, network: Any, lengths: Tensor) -> Activation:
        """The activation function of the dictionary.

        Args:
            network: What `network` gave, trained.
            lengths: Norms of its decoder's directions, which become 1 while the latents are
                multiplied by them.

        Returns:
            The function.
        """

    def calibrate(self, dictionary: Dictionary, rows: Tensor) -> Dictionary:
        """Adjust a trained dictionary to rows that it was trained on; by default as it is.

        Args:
            dictionary: The dictionary.
            rows: Activations as the model made them, `[row, unit]`.

        Returns:
            The dictionary to use.
        """
        return dictionary


trainers: Registry[type[Trainer]] = Registry(
    "trainer of dictionaries",
    package="clerestory.dictionaries.trainers",
    group="clerestory.dictionary_trainers",
)
"""Trainers by the name of what they train."""


@torch.no_grad()
def weights(network: Any) -> tuple[dict[str, Tensor], Tensor]:
    """The weights of a network, with directions of length 1.

    Args:
        network: A `TrainingSAE`.

    Returns:
        Copies by the names of a dictionary's fields, on the CPU, and the norms that its decoder's
        directions had.
    """
    decoder = network.W_dec.detach().float().cpu()
    # As sae-lens bounds them: a direction may be 0.
    lengths = decoder.norm(dim=1).clamp(min=1e-8)
    return {
        "encoder": network.W_enc.detach().float().cpu() * lengths,
        "encoder_bias": network.b_enc.detach().float().cpu() * lengths,
        "decoder": decoder / lengths[:, None],
        "decoder_bias": network.b_dec.detach().float().cpu().clone(),
    }, lengths
