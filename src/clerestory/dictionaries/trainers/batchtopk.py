"""The k largest latents per position on the average of a batch (Bussmann et al. 2024).

Latents that have died are revived by a loss of their own: they predict what the others left over.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.trainer import Trainer, sae_lens_module, trainers

__all__ = ["BatchTopKTrainer"]


@trainers.register("batchtopk")
class BatchTopKTrainer(Trainer):
    """Trains a dictionary of the kind `batchtopk`."""

    @override
    def network(self, width: int, latents: int) -> Any:
        saes = sae_lens_module("saes")
        return saes.BatchTopKTrainingSAE(
            saes.BatchTopKTrainingSAEConfig(d_in=width, d_sae=latents, k=self.k)
        )

    @override
    def activation(self, network: Any, lengths: Tensor) -> Activation:
        # The threshold is in units of latents times the norms of their directions already.
        return BatchTopK(float(network.topk_threshold), self.k)
