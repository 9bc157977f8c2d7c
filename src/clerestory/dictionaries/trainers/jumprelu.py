"""A threshold for each latent, trained with it towards `k` active ones (Rajamanoharan et al. 2024).

The penalty is the square of the distance from `k`; dead latents are revived by a loss that lifts
their pre-activations, as in Anthropic's update of January 2025.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.kinds.jumprelu import JumpReLU
from clerestory.dictionaries.trainer import Trainer, sae_lens_module, trainers

__all__ = ["JumpReLUTrainer"]

WARM_UP = 0.1
"""Share of the updates in which the penalty rises; at once, it would kill latents."""
REVIVAL = 3e-6
"""Coefficient of the loss of dead latents, as sae-lens recommends."""


@trainers.register("jumprelu")
class JumpReLUTrainer(Trainer):
    """Trains a dictionary of the kind `jumprelu`."""

    @override
    def network(self, width: int, latents: int) -> Any:
        saes = sae_lens_module("saes")
        return saes.JumpReLUTrainingSAE(
            saes.JumpReLUTrainingSAEConfig(
                d_in=width,
                d_sae=latents,
                jumprelu_sparsity_loss_mode="quadratic",
                target_l0=float(self.k),
                l0_coefficient=self.penalty,
                l0_warm_up_steps=int(WARM_UP * self.updates),
                pre_act_loss_coefficient=REVIVAL,
            )
        )

    @override
    def activation(self, network: Any, lengths: Tensor) -> Activation:
        return JumpReLU(network.threshold.detach().float().cpu().clamp(min=0) * lengths)
