"""Hold a neuron at a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from clerestory.edits.base import OfNeuron, edits, finite

__all__ = ["Clamp"]


@edits.register("clamp")
@dataclass(frozen=True, eq=False)
class Clamp(OfNeuron):
    """Holds one neuron at `value` at every position; at its mean, it is mean-ablated.

    >>> Clamp("text.blocks.2/mlp[1]", 5.0)(torch.zeros(1, 1, 3))
    tensor([[[0., 5., 0.]]])
    """

    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "value", finite(self.neuron, "value", self.value))

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]` with the neuron held."""
        held = value.clone()
        self.column(held).copy_(torch.as_tensor(self.value, dtype=value.dtype))
        return held

    def settings(self) -> dict[str, Any]:
        """All of it."""
        return {**self.place, "value": self.value}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        return cls(**settings)
