"""Ablate a direction: project it out, or hold it at the level that is usual without the concept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from clerestory.edits.base import (
    Affine,
    SiteEdit,
    affine_identity,
    check_units,
    edits,
    finite_number,
    normalised_direction,
)

__all__ = ["Ablate"]


@edits.register("ablate")
@dataclass(frozen=True, eq=False)
class Ablate(SiteEdit):
    """Sets the component along `direction` to `level` at every position, and leaves the rest.

    At level 0 the direction is projected out; at the mean level of prompts without a concept it is
    mean-ablated. For one unit that is `Clamp` at its mean.

    Attributes:
        direction: `[unit]`, of any length other than zero.
        level: The component along the normalised direction, in the activations' own measure.
        vector: The direction as a float32 tensor of length one.

    >>> import torch
    >>> Ablate("prior/embedding", [0.0, 2.0], level=5.0)(torch.ones(1, 1, 2))
    tensor([[[1., 5.]]])
    """

    tensor_fields: ClassVar = {"direction": "vector"}
    direction: ArrayLike | Tensor = field(repr=False)
    level: float = 0.0
    vector: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", normalised_direction(self.site, self.direction))
        object.__setattr__(self, "level", finite_number(self.site, "level", self.level))

    @property
    def units(self) -> int:
        """The length of the direction."""
        return len(self.vector)

    def __call__(self, value: Tensor) -> Tensor:
        """Set the component along the direction to the level.

        Args:
            value: Activations, `[sample, position, unit]`.

        Returns:
            A new tensor of the same shape, dtype and device.

        Raises:
            EditError: The site has another number of units than the direction.
        """
        check_units(self.site, self.units, value.shape[-1])
        direction = self.vector.to(value.device)
        # In float32: the sum over a thousand units loses digits in half precision.
        missing = self.level - value.float() @ direction
        return (value + missing[..., None] * direction).to(value.dtype)

    def as_affine(self, units: int) -> Affine:
        """`(I - d dᵀ) x + level d`.

        Args:
            units: How many units the site has.

        Returns:
            The map, in float64.
        """
        # In float64, since the map is multiplied into weights.
        direction = self.vector.double()
        matrix = affine_identity(units).matrix - torch.outer(direction, direction)
        return Affine(matrix, self.level * direction)
