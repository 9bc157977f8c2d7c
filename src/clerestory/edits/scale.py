"""Multiply a unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from clerestory.edits.base import Affine, UnitEdit, edits

__all__ = ["Scale"]


@edits.register("scale")
@dataclass(frozen=True, eq=False)
class Scale(UnitEdit):
    """Multiplies one unit by `factor` at every position; 0 silences it.

    >>> import torch
    >>> Scale("text.blocks.2/mlp[1]", 3.0)(torch.ones(1, 1, 3))
    tensor([[[1., 3., 1.]]])
    """

    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_finite("factor")

    @override
    def __call__(self, value: Tensor) -> Tensor:
        scaled = value.clone()
        self.column(scaled).mul_(self.factor)
        return scaled

    @override
    def as_affine(self, units: int) -> Affine:
        return self.unit_affine(units, self.factor, 0.0)
