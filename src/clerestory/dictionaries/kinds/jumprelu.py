"""A rectifier with a threshold for each latent (Rajamanoharan et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation, activations, threshold_at

__all__ = ["JumpReLU"]


@activations.register("jumprelu")
@dataclass(frozen=True, eq=False)
class JumpReLU(Activation):
    """Keeps what is above 0 and above the latent's threshold.

    Attributes:
        thresholds: float32 `[latent]`.

    >>> import torch
    >>> JumpReLU(torch.tensor([0.5, 2.5]))(torch.tensor([1.0, 2.0]))
    tensor([1., 0.])
    """

    tensor_fields: ClassVar[tuple[str, ...]] = ("thresholds",)
    thresholds: Tensor = field(repr=False)

    @override
    def at_l0(self, values: Tensor, l0: float) -> JumpReLU:
        return JumpReLU(torch.full((values.shape[1],), threshold_at(values, l0)))

    @override
    def __call__(self, values: Tensor) -> Tensor:
        return values.relu() * (values > self.thresholds)
