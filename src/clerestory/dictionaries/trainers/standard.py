"""A rectifier and an L1 penalty (Cunningham et al. 2023, Bricken et al. 2023).

sae-lens has no way of reviving the dead latents of this kind.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.trainer import Trainer, sae_lens_module, trainers

__all__ = ["StandardTrainer"]

WARM_UP = 0.1
"""Share of the updates in which the penalty rises; at once, it would kill latents."""


@trainers.register("standard")
class StandardTrainer(Trainer):
    """Trains a dictionary of the kind `relu`; `penalty` decides how many latents are active."""

    @override
    def network(self, width: int, latents: int) -> Any:
        saes = sae_lens_module("saes")
        return saes.StandardTrainingSAE(
            saes.StandardTrainingSAEConfig(
                d_in=width,
                d_sae=latents,
                l1_coefficient=self.penalty,
                l1_warm_up_steps=int(WARM_UP * self.updates),
            )
        )

    @override
    def activation(self, network: Any, lengths: Tensor) -> Activation:
        return ReLU()
