"""The k largest latents of each position (Gao et al. 2024); dead latents as in BatchTopK."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.dictionaries.trainer import Trainer, sae_lens_module, trainers

__all__ = ["TopKTrainer"]


@trainers.register("topk")
class TopKTrainer(Trainer):
    """Trains a dictionary of the kind `topk`."""

    @override
    def network(self, width: int, latents: int) -> Any:
        saes = sae_lens_module("saes")
        return saes.TopKTrainingSAE(saes.TopKTrainingSAEConfig(d_in=width, d_sae=latents, k=self.k))

    @override
    def activation(self, network: Any, lengths: Tensor) -> Activation:
        return TopK(self.k)
