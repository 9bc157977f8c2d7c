"""Reflect a site at the plane where a concept begins, on the side of the concept only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from clerestory.edits.ablate import Ablate
from clerestory.edits.base import (
    SiteEdit,
    check_units,
    edits,
    finite_number,
    normalised_direction,
    rescaled,
)

__all__ = ["Reflect"]


@edits.register("reflect")
@dataclass(frozen=True, eq=False)
class Reflect(SiteEdit):
    """Moves positions that exceed `level` along `direction` back by `strength` times the excess.

    At strength 1 they end at the level, at 2 they are mirrored. Positions below the level are left
    alone, and each position keeps its length. Source: Householder's reflection, clipped to the side
    where the concept is.

    Attributes:
        direction: `[unit]`, of any length other than zero.
        level: Where the concept begins, in the activations' own measure.
        strength: The share of the excess that is taken away.
        vector: The direction as a float32 tensor of length one.

    >>> Reflect("prior/embedding", [0.0, 1.0])(torch.tensor([[[3.0, 4.0], [3.0, -4.0]]]))
    tensor([[[ 3., -4.],
             [ 3., -4.]]])
    """

    tensor_fields: ClassVar = {"direction": "vector"}
    direction: ArrayLike | Tensor = field(repr=False)
    level: float = 0.0
    strength: float = 2.0
    vector: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", normalised_direction(self.site, self.direction))
        for name in ("level", "strength"):
            object.__setattr__(self, name, finite_number(self.site, name, getattr(self, name)))

    @property
    def units(self) -> int:
        """The length of the direction."""
        return len(self.vector)

    def __call__(self, value: Tensor) -> Tensor:
        """Move positions back where they exceed the level.

        Args:
            value: Activations, `[sample, position, unit]`.

        Returns:
            A new tensor of the same shape, dtype and device.

        Raises:
            EditError: The site has another number of units than the direction.
        """
        check_units(self.site, self.units, value.shape[-1])
        direction, before = self.vector.to(value.device), value.float()
        excess = (before @ direction - self.level).clamp_min(0)[..., None]
        reflected = rescaled(before - self.strength * excess * direction, before)
        # Below the level the value itself, since scaling by a computed length would change its last
        # bits.
        return torch.where(excess > 0, reflected, before).to(value.dtype)

    def nearest_affine(self, units: int) -> SiteEdit:
        """The ablation that holds every position at the level, wherever it begins.

        Args:
            units: How many units the site has.

        Returns:
            An edit that can be folded into weights; it also moves positions below the level.
        """
        return Ablate(
            self.site, self.vector, self.level, branch=self.branch, positions=self.positions
        )
