"""Hold a unit at a value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.edits.base import Affine, UnitEdit, edits

__all__ = ["Clamp"]


@edits.register("clamp")
@dataclass(frozen=True, eq=False)
class Clamp(UnitEdit):
    """Holds one unit at `value` at every position; at its mean, the unit is mean-ablated.

    >>> Clamp("text.blocks.2/mlp[1]", 5.0)(torch.zeros(1, 1, 3))
    tensor([[[0., 5., 0.]]])
    """

    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_finite("value")

    @override
    def __call__(self, value: Tensor) -> Tensor:
        # A copy: the model may use its own tensor elsewhere, as a residual does.
        clamped = value.clone()
        self.column(clamped).copy_(torch.as_tensor(self.value, dtype=value.dtype))
        return clamped

    @override
    def as_affine(self, units: int) -> Affine:
        return self.unit_affine(units, 0.0, self.value)
