"""BatchTopK whose first latents also reconstruct alone, by levels (Bussmann et al. 2025)."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from clerestory.dictionaries.trainer import sae_lens_module, trainers
from clerestory.dictionaries.trainers.batchtopk import BatchTopKTrainer

__all__ = ["MatryoshkaTrainer"]

LEVELS = 5
"""Each level has twice the latents of the one before; the last has all."""


@trainers.register("matryoshka")
class MatryoshkaTrainer(BatchTopKTrainer):
    """Trains a dictionary of the kind `batchtopk` whose early latents are general ones."""

    @override
    def network(self, width: int, latents: int) -> Any:
        saes = sae_lens_module("saes")
        widths = sorted({max(1, latents >> level) for level in range(LEVELS)})
        return saes.MatryoshkaBatchTopKTrainingSAE(
            saes.MatryoshkaBatchTopKTrainingSAEConfig(
                d_in=width, d_sae=latents, k=self.k, matryoshka_widths=widths
            )
        )
