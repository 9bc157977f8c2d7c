"""Reflect a site at a plane orthogonal to a direction, on the side of the concept only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.edits.ablate import Ablate
from clerestory.edits.base import DirectionEdit, SiteEdit, edits, rescaled

__all__ = ["Reflect"]


@edits.register("reflect")
@dataclass(frozen=True, eq=False)
class Reflect(DirectionEdit):
    """Moves positions that exceed `level` along `direction` back by `strength` times the excess.

    At strength 1 they end at the level, at 2 they are mirrored. Positions below the level are left
    alone, and each position keeps its length. Source: Householder's reflection, clipped to the side
    where the concept is.

    Attributes:
        level: The component at which the concept begins, in the units of the activations.
        strength: The share of the excess that is subtracted.

    >>> Reflect("prior/embedding", [0.0, 1.0])(torch.tensor([[[3.0, 4.0], [3.0, -4.0]]]))
    tensor([[[ 3., -4.],
             [ 3., -4.]]])
    """

    level: float = 0.0
    strength: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_finite("level", "strength")

    @override
    def __call__(self, value: Tensor) -> Tensor:
        self.check_units(value.shape[-1])
        direction, before = self.vector.to(value.device), value.float()
        excess = (before @ direction - self.level).clamp_min(0)[..., None]
        reflected = rescaled(before - self.strength * excess * direction, before)
        # Below the level the value itself: scaling by a computed length would change its last bits.
        return torch.where(excess > 0, reflected, before).to(value.dtype)

    @override
    def nearest_affine(self, units: int) -> SiteEdit:
        # It holds every position at the level, also those below it.
        return Ablate(
            self.site, self.vector, self.level, branch=self.branch, positions=self.positions
        )
