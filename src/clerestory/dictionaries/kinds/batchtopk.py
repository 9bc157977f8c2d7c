"""Trained with the k largest latents per position on the average of a batch (Bussmann et al. 2024).

A position would depend on its batch, so after training a threshold takes the place of the ranks.
That of a dictionary trained here leaves `k` latents per position on rows of its training; sae-lens
itself takes a moving average of the smallest latent that a batch kept. Matryoshka dictionaries are
used in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation, activations, check_k, threshold_at

__all__ = ["BatchTopK"]


@activations.register("batchtopk")
@dataclass(frozen=True, eq=False)
class BatchTopK(Activation):
    """Keeps what is above 0 and above one threshold.

    Attributes:
        threshold: The threshold of all latents.
        k: Latents per position that were kept in training, on average; for information.

    >>> import torch
    >>> BatchTopK(1.5, k=1)(torch.tensor([1.0, 2.0]))
    tensor([0., 2.])
    """

    threshold: float
    k: int

    @override
    def check(self, latents: int) -> None:
        check_k(self.k, latents)

    @override
    def at_l0(self, values: Tensor, l0: float) -> BatchTopK:
        return BatchTopK(threshold_at(values, l0), min(max(1, round(l0)), values.shape[1]))

    @override
    def __call__(self, values: Tensor) -> Tensor:
        return values.relu() * (values > self.threshold)
