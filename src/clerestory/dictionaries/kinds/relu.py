"""The rectifier of standard sparse autoencoders, which an L1 penalty makes sparse in training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation, activations

__all__ = ["ReLU"]


@activations.register("relu")
@dataclass(frozen=True, eq=False)
class ReLU(Activation):
    """Keeps what is above 0.

    >>> import torch
    >>> ReLU()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    @override
    def __call__(self, values: Tensor) -> Tensor:
        return values.relu()
