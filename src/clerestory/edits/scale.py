"""Multiply a neuron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from clerestory.edits.base import OfNeuron, edits, finite

__all__ = ["Scale"]


@edits.register("scale")
@dataclass(frozen=True, eq=False)
class Scale(OfNeuron):
    """Multiplies one neuron by `factor` at every position; 0 silences it.

    >>> import torch
    >>> Scale("text.blocks.2/mlp[1]", 3.0)(torch.ones(1, 1, 3))
    tensor([[[1., 3., 1.]]])
    """

    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factor", finite(self.neuron, "factor", self.factor))

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]` with the neuron scaled."""
        scaled = value.clone()
        self.column(scaled).mul_(self.factor)
        return scaled

    def settings(self) -> dict[str, Any]:
        """All of it."""
        return {**self.place, "factor": self.factor}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        return cls(**settings)
