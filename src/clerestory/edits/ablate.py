"""Ablate a direction: set the component along it to zero, or to its mean without the concept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.edits.base import Affine, DirectionEdit, affine_identity, edits

__all__ = ["Ablate"]


@edits.register("ablate")
@dataclass(frozen=True, eq=False)
class Ablate(DirectionEdit):
    """Sets the component along `direction` to `level` at every position.

    At level 0 the direction is projected out; at the mean level of prompts without a concept it is
    mean-ablated. For one unit that is `Clamp` at its mean.

    Attributes:
        level: The component along the normalised direction, in the units of the activations.

    >>> import torch
    >>> Ablate("prior/embedding", [0.0, 2.0], level=5.0)(torch.ones(1, 1, 2))
    tensor([[[1., 5.]]])
    """

    level: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_finite("level")

    @override
    def __call__(self, value: Tensor) -> Tensor:
        self.check_units(value.shape[-1])
        direction = self.vector.to(value.device)
        # In float32: the sum over a thousand units loses digits in half precision.
        missing = self.level - value.float() @ direction
        return (value + missing[..., None] * direction).to(value.dtype)

    @override
    def as_affine(self, units: int) -> Affine:
        # (I - d dᵀ) x + level d
        # In float64, since the map is multiplied into weights.
        direction = self.vector.double()
        matrix = affine_identity(units).matrix - torch.outer(direction, direction)
        return Affine(matrix, self.level * direction)
