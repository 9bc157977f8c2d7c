"""The k largest latents per position on the average of a batch (Bussmann et al. 2024).

Latents that have died are revived by a loss of their own: they predict what the others left over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation, threshold_at
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.trainer import Trainer, sae_lens_module, trainers

__all__ = ["BatchTopKTrainer"]

CALIBRATION_ROWS = 2048
"""Rows that the threshold is set on, at most."""


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

    @override
    def calibrate(self, dictionary: Dictionary, rows: Tensor) -> Dictionary:
        """Set the threshold so that rows have `k` latents above it on average.

        sae-lens keeps a moving average that starts at 0: after few updates it is too low, and of
        a network that still changes it is one of the past.
        """
        # At random: at equal distances the same positions of every sample would be taken.
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        rows = rows[order[:CALIBRATION_ROWS]]
        latents = replace(dictionary, activation=ReLU()).encode(rows)
        threshold = threshold_at(latents, self.k)
        return replace(dictionary, activation=BatchTopK(threshold, self.k))
